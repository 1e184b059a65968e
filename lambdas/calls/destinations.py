"""Where a plan's legs and dialled numbers lead: accounts' phones, numbers by ENUM or by providers, addresses
elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from lambdas.calls.budget import Budget
from lambdas.calls.cache_key import ALWAYS, BY_CALLER, VOLATILE, CacheKey
from lambdas.calls.diversion import divert
from lambdas.calls.facts import Facts
from lambdas.calls.request import CallRequest, PlanCall
from lambdas.calls.tenant_accounts import TenantAccounts
from lambdas.contract import Reject, Route, Target, may_be_sip, stand_in
from lambdas.decisions import outbound
from lambdas.decisions.numbers import read
from lambdas.decisions.outbound import Choice
from lambdas.decisions.provider import Way
from lambdas.decisions.route import targets_of
from lambdas.decisions.rules import Leg
from lambdas.decisions.uris import sip_uri
from lambdas.decisions.values import StoredAccount, StoredBinding
from lambdas.decisions.wizard import Step

_BUSY, _NOT_THERE, _LOOP = 486, 480, 482


@dataclass(frozen=True, slots=True)
class Rung:
    """Whom a step rings: ``targets``, stand-ins for accounts that have no phone just now (``absent``), and the
    ``status`` that it counts as if there are none."""

    targets: list[Target]
    absent: list[Target]
    status: int
    key: CacheKey


@dataclass(frozen=True, slots=True)
class LegTargets:
    """Where one leg leads."""

    targets: list[Target]
    key: CacheKey = ALWAYS


class Destinations:
    """Of one request."""

    def __init__(self, request: CallRequest, accounts: TenantAccounts, facts: Facts, budget: Budget) -> None:
        self._request = request
        self._accounts = accounts
        self._facts = facts
        self._budget = budget
        self.way = cache(lambda name: facts.way(name, request.question.address))

    def phones(self, aor: str) -> tuple[StoredBinding, ...]:
        """Where requests for an account go; calls don't where they would disturb."""
        return () if self._request.is_call and self._accounts.disturbing(aor) else self._accounts.bindings(aor)

    def ours(self, host: str) -> bool:
        return host in self._facts.domains().names

    def has_provider(self, name: str) -> bool:
        """Whether the tenant has a provider account of that name."""
        return self.way(f"{self._request.payer.tenant}/{name}") is not None

    def home(self, by: PlanCall) -> str:
        """The domain that names without one are of."""
        return (by.owner or self._request.payer.aor).rpartition("@")[2] or self._facts.domains().default

    def through(self, choice: Choice, payer: StoredAccount) -> Route | Reject:
        """By the providers of ``choice`` that there are."""
        ways = [self.way(f"{self._request.payer.tenant}/{name}") for name in choice.providers]
        usable = [way for way in ways if way is not None and not self._trusts_another(way)]
        outside = self._request.settings.outside
        return outbound.through(choice, usable, payer, self._request.question.address, outside)

    def _trusts_another(self, way: Way) -> bool:
        """Whether it leads to where another tenant is known by the address that its calls come from."""
        tenant, known = self._request.payer.tenant, self._facts.provider_places()
        found = next((one.host for one in way.provider.places if known.trusts_another(one.host, tenant)), "")
        if found:
            self._note(
                way.provider.id.rpartition("/")[2], f"{found} is left out: others are known there by our address"
            )
        return bool(found)

    def rung(self, step: Step, by: PlanCall) -> Rung:
        """Whom the legs of ``step`` ring."""
        targets: list[Target] = []
        absent: list[Target] = []
        status, key = _NOT_THERE, ALWAYS
        may_divert = not by.diverted or self._budget.may_divert
        for leg in step.legs:
            if self._budget.late:
                break
            account = leg.account or self._named_by(leg, by)
            if account:
                found = LegTargets(targets_of(self.phones(account), self._request.now))
                if self._accounts.disturbing(account):
                    status = _BUSY
                if not found.targets:
                    absent.append(self._as_leg(stand_in(account), leg, by))
            elif may_divert:
                found = self._outside(leg, self._request.payer_of(step), by)
            else:
                found, status = LegTargets([]), _LOOP
            key += found.key
            targets += [self._as_leg(target, leg, by) for target in found.targets if self._budget.take("targets")]
        return Rung(targets, absent, status, key)

    def address(self, uri: str, by: PlanCall) -> LegTargets:
        """The phones of one of our accounts, or whoever has that address elsewhere."""
        try:
            user, host, port, _ = sip_uri(uri)
        except ValueError:
            return LegTargets([])
        domains, request = self._facts.domains(), self._request
        if host in domains.names:
            return LegTargets(targets_of(self.phones(f"{user}@{domains.names[host]}"), request.now))
        number = outbound.number_in(user, request.settings)
        refusal = number.number.refused if number is not None else ""
        refusal = refusal or self._refusal(host, port)
        if refusal:
            self._note(by.plan, f"{uri} is left out: {refusal}")
            return LegTargets([], BY_CALLER)
        caller = outbound.named_outside(request.payer.aor, request.caller, request.settings.country)
        tls = self._facts.spoken() >= 9
        return LegTargets([outbound.directly(uri, caller, request.question.address, number, tls)], BY_CALLER)

    def _refusal(self, host: str, port: int) -> str:
        """Why a call may not be sent to ``host``; "" if it may."""
        request = self._request
        if not request.settings.outside:
            return "this tenant may not call addresses outside; ask whoever runs the service"
        if port and not may_be_sip(port):
            return f"no SIP server has port {port}"
        if self._facts.provider_places().anothers(host, request.payer.tenant):
            return "it is a provider of somebody else's here"
        return self._budget.take_outside(host)

    def _note(self, about: str, text: str) -> None:
        """Into the tenant's log."""
        request = self._request
        self._facts.log_plan(request.payer.tenant, about, text, request.question.call_id)

    def _named_by(self, leg: Leg, by: PlanCall) -> str:
        """The account that has a number for its name, as the one who is dialled would."""
        home = self.home(by)
        aor = f"{leg.number}@{home}" if leg.number and not leg.providers and home else ""
        return aor if aor and self._accounts.usable(aor) is not None else ""

    def _as_leg(self, target: Target, leg: Leg, by: PlanCall) -> Target:
        """``target``, and those instead of it, as the plan wants them rung."""
        more = {"after": leg.after + target.after, "headers": list(leg.headers)}
        instead = [one.model_copy(update={"headers": list(leg.headers)}) for one in target.instead]
        return divert(target.model_copy(update={**more, "instead": instead}), by, self._request.payer.aor)

    def _outside(self, leg: Leg, payer: StoredAccount, by: PlanCall) -> LegTargets:
        """A number or address. Of several ways to a number the next is tried instead of the one before."""
        if leg.uri is not None:
            return self.address(leg.uri, by)
        found = self._by_enum(leg, by)
        if leg.number is None or any(target.aor for target in found.targets):
            return found
        more = self._by_providers(leg.number, leg.providers, payer)
        ways, key = [*found.targets, *more.targets], found.key + more.key
        if not ways:
            return LegTargets([], key)
        return LegTargets([ways[0].model_copy(update={"instead": [*ways[1:], *ways[0].instead]})], key)

    def _by_enum(self, leg: Leg, by: PlanCall) -> LegTargets:
        number = read(leg.number or "", self._request.settings.country) if leg.enum else None
        if number is None or not number.e164 or not self._budget.take("enum"):
            return LegTargets([])
        address = self._facts.enum(number.e164, leg.enum)
        found = self.address(address, by) if address else LegTargets([])
        return LegTargets(found.targets, VOLATILE + found.key)

    def _by_providers(self, number: str, named: list[str], payer: StoredAccount) -> LegTargets:
        choice = outbound.choose(number, tuple(named), self._request.settings)
        if choice is None or isinstance(choice, Reject):
            return LegTargets([])
        key = CacheKey(caller=bool(self._request.payer.aor))  # its caller ID goes along
        decision = self.through(choice, payer)
        return LegTargets(decision.targets if isinstance(decision, Route) else [], key)
