"""How often what may be done, as far as this process knows."""

from __future__ import annotations

from dataclasses import dataclass

from lambdas.calls.script_world import PUTS_A_MINUTE
from lambdas.services.environment import Environment
from lambdas.services.rates import Gathered, Quota, Recent

_FAILURES_A_MINUTE = 120  # failed authentications of a source that are noted; then it is banned
_NOTES, _BETWEEN_NOTES = 20, 1.0  # failures of one account that are written, and then one in so many seconds
_CONFIRMATIONS = 20  # tries of a token a minute, of one source
_GOOD_KEYS = 1000
_PINGS = 20  # a minute, of one tenant
_PASSWORDS_A_MINUTE = 30  # of providers, for one edge: those that are challenged within calls made elsewhere
_CERTIFICATES_A_MINUTE = 30  # requests for certificates' keys, of one edge
_LOGS_A_MINUTE = 60  # entries in the log of a tenant's plans


@dataclass(frozen=True, slots=True)
class Quotas:
    """``requests`` go by API key, ``refused`` ones, ``keyless``, ``failures`` and ``confirmations`` by source,
    ``notes`` by account, ``pings``, ``logs`` and ``puts`` by tenant, ``passwords`` and ``certificates`` by edge.
    ``good_keys`` have been good before."""

    requests: Quota
    refused: Quota
    keyless: Quota
    good_keys: Recent
    failures: Quota
    notes: Gathered
    confirmations: Quota
    pings: Quota
    logs: Quota
    puts: Quota
    passwords: Quota
    certificates: Quota

    @classmethod
    def of(cls, environment: Environment) -> Quotas:
        return cls(
            requests=Quota(environment.api_rate),
            refused=Quota(environment.refused_rate),
            keyless=Quota(environment.refused_rate),
            good_keys=Recent(_GOOD_KEYS),
            failures=Quota(_FAILURES_A_MINUTE),
            notes=Gathered(_NOTES, _BETWEEN_NOTES),
            confirmations=Quota(_CONFIRMATIONS),
            pings=Quota(_PINGS),
            logs=Quota(_LOGS_A_MINUTE),
            puts=Quota(PUTS_A_MINUTE),
            passwords=Quota(_PASSWORDS_A_MINUTE),
            certificates=Quota(_CERTIFICATES_A_MINUTE),
        )
