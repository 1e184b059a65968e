"""Certificates of edges' names and tenants' domains: for which of them an order is made at a certificate authority (CA,
RFC 8555) and when, and where the record stands by which the CA sees that a name is ours (DNS-01, §8.4).

One name has one certificate, so that no name waits for another one's. Times are Unix time in seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

ORDERS_AN_HOUR = 20
"""Orders begun in an hour, for all names: authorities count them (Let's Encrypt takes 100 an hour of an account)."""
WISHES_AN_HOUR = 3
"""How often somebody may ask for one name's renewal in an hour."""
TENANT_WISHES_AN_HOUR = 6
"""How often a tenant may, for all of its names: orders are everybody's."""
LONGEST_ORDER = 86_400.0
"""Seconds after which an order that isn't through has failed."""
WARNING = 14 * 86_400.0
"""Seconds before the end, from which on it is told that a certificate ends."""
TURN = 1800.0
"""Seconds for which a Region that has renewed goes on being the one that does."""

_FIRST_PAUSE, _LONGEST_PAUSE = 3600.0, 86_400.0  # of a name whose order has failed
_FIRST_OUTAGE, _LONGEST_OUTAGE = 300.0, 7200.0  # of an authority that doesn't answer, or asks for patience
_FIRST_LOOK, _LONGEST_LOOK = 300.0, 21_600.0  # at the records of a name that doesn't point to us
_SPREAD = 0.1  # of the time left when a certificate is renewed, so that those made together aren't renewed together
_LABEL = "_acme-challenge."
_LONGEST_NAME = 253  # characters of a name in DNS

Shown = Literal["valid", "expired", "waiting", "ordered", "failed"]


@dataclass(frozen=True, slots=True)
class Certified:
    """What is known of a name's certificate. ``tenant`` is whose domain it is, "" for an edge's name; ``version`` that
    of the certificate in use, "" for none. ``error`` says why there is no order, or why the last one failed;
    ``attempts`` are those since the last success, and none is made before ``next_at``. ``order`` is the URL of one
    under way, begun ``ordered_at``; ``record`` (zone, name, value) is what it has put into DNS. ``ours``: the records
    of the name led to us when they were looked at last. ``warned`` is the version whose end has been told."""

    name: str
    tenant: str = ""
    version: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    error: str = ""
    attempts: int = 0
    next_at: float = 0.0
    order: str = ""
    ordered_at: float = 0.0
    record: tuple[str, str, str] | None = None
    ours: bool = False
    warned: str = ""

    def shown(self, now: float) -> Shown:
        """For people: what its phones see counts, not how an attempt went."""
        if self.version:
            return "valid" if now < self.not_after else "expired"
        if self.order:
            return "ordered"
        return "failed" if self.ours and self.error else "waiting"


@dataclass(frozen=True, slots=True)
class Authority:
    """How a CA has answered lately: nothing is asked of it before ``paused_until``, after ``failures`` in a row."""

    failures: int = 0
    paused_until: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class RenewalTurn:
    """Whose the work is: of ``region`` until ``until``; ``run`` is at it until ``running_until``."""

    region: str
    until: float
    run: str = ""
    running_until: float = 0.0


@dataclass(frozen=True, slots=True)
class ChallengePlace:
    """Where a name's challenge is answered: a record in a zone of ours."""

    zone: str
    record: str


# When


def renew_at(state: Certified) -> float:
    """From when on there should be another one: a third of its lifetime is left, and for each name a little more."""
    left = (state.not_after - state.not_before) / 3
    return state.not_after - left * (1 + _SPREAD * _share(state.name))


def due(state: Certified, now: float, wished: bool = False) -> bool:
    """Whether there is something to do for a name. ``wished``: somebody wants it done now, whatever has failed before
    and however long its certificate lasts."""
    if wished:
        return True
    return now >= state.next_at and (bool(state.order) or not state.version or now >= renew_at(state))


def turn(state: Certified, now: float, wished: bool = False) -> tuple[bool, bool, int, float, float]:
    """What is done first has the least of these: orders under way, then what is in use and about to end, then the rest,
    each by how often it has failed: so nobody's names that can't be had, however many, keep others from theirs."""
    ending = bool(state.version) and now >= renew_at(state)
    return not state.order, not ending, 0 if wished else state.attempts, state.not_after, state.next_at


def ends_soon(state: Certified, now: float) -> bool:
    """Whether people should know. A short certificate is worth a word when half of its time to be renewed is over."""
    renewing = (state.not_after - state.not_before) / 3
    return bool(state.version) and now >= state.not_after - (WARNING if renewing > WARNING else renewing / 2)


def next_attempt(state: Certified) -> float:
    """When something is done for a name next."""
    return max(state.next_at, renew_at(state)) if state.version and not state.order else state.next_at


# What became of it


def elsewhere(state: Certified, why: str, now: float) -> Certified:
    """A name whose records don't lead to us: it is looked at again, less and less often."""
    again = replace(state, ours=False, error=why, attempts=state.attempts + 1)
    return replace(again, next_at=now + _doubled(again, _FIRST_LOOK, _LONGEST_LOOK))


def begun(state: Certified, order: str, now: float) -> Certified:
    return replace(state, ours=True, order=order, ordered_at=now, next_at=now)


def failed(state: Certified, why: str, now: float, patience: float = 0.0) -> Certified:
    """The order is given up; another one is made later, each time twice as late, and not before the ``patience``
    seconds that the authority asks for."""
    again = replace(state, order="", ordered_at=0.0, error=why, attempts=state.attempts + 1)
    return replace(again, next_at=now + max(patience, _doubled(again, _FIRST_PAUSE, _LONGEST_PAUSE)))


def obtained(state: Certified, version: str, not_before: float, not_after: float) -> Certified:
    """It has one; what came before it is forgotten."""
    return Certified(state.name, state.tenant, version, not_before, not_after, ours=True)


def out(authority: Authority, why: str, now: float, patience: float = 0.0) -> Authority:
    """It doesn't answer, or has had enough: nobody asks for a while."""
    failures = authority.failures + 1
    pause = max(patience, min(_FIRST_OUTAGE * 2 ** (failures - 1), _LONGEST_OUTAGE))
    return Authority(failures, now + pause, why)


def _doubled(state: Certified, first: float, longest: float) -> float:
    """Of ``attempts``, and for each name a little less, so that those that failed together don't come together."""
    return float(min(first * 2 ** (state.attempts - 1), longest) * (1 - _SPREAD * _share(state.name)))


def _share(name: str) -> float:
    """From 0 to 1, the same for a name whenever it is asked."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


# Whose turn it is


def take_turn(old: RenewalTurn | None, region: str, run: str, seconds: float, now: float) -> RenewalTurn | None:
    """One Region renews, and in it one process at a time; None for any other. Another Region goes on where the one that
    did has been silent."""
    if old is not None and ((old.region != region and now < old.until) or now < old.running_until):
        return None
    return RenewalTurn(region, now + TURN, run, now + seconds)


def end_turn(old: RenewalTurn | None, run: str) -> RenewalTurn | None:
    """The run is over; None if it isn't the one that runs any more."""
    return replace(old, run="", running_until=0.0) if old is not None and old.run == run else None


# Where


def challenge(name: str) -> str:
    """Where the CA looks (RFC 8555 §8.4)."""
    return _LABEL + name


def alias_target(name: str, zone: str) -> str:
    """What the challenge's name has to be an alias of, for a name whose own zone isn't ours: of a length that any name
    leaves room for, and no two names' the same."""
    return f"{_LABEL}{hashlib.sha256(name.encode()).hexdigest()[:32]}.{zone}"


def zone_of(name: str, zones: Mapping[str, str]) -> str:
    """The longest of ``zones`` (names and ids) that ``name`` is in; "" if it is in none."""
    labels = name.split(".")
    return next((zone for at in range(len(labels)) if (zone := ".".join(labels[at:])) in zones), "")


def place_of(name: str, alias: str, zone: str, zones: Mapping[str, str]) -> ChallengePlace | str:
    """Where the challenge of ``name`` is answered, or why it can't be. ``alias`` is where the CNAME records of its
    challenge lead, "" if there are none; ``zone`` is where we answer for others. Only the name's own place there will
    do: two names would answer each other's challenges."""
    if len(challenge(name)) > _LONGEST_NAME:
        return f"the name is too long: {challenge(name)} may have {_LONGEST_NAME} characters"
    target = alias_target(name, zone) if zone else ""
    wanted = f"the CNAME record {challenge(name)} has to lead to {target}" if target else "none of our zones has it"
    if alias:
        if alias != target:
            return f"{challenge(name)} leads to {alias}; {wanted}"
        inside = zone_of(target, zones)
        return ChallengePlace(zones[inside], target) if inside else f"we have no hosted zone {zone}"
    inside = zone_of(name, zones)
    if inside:
        return ChallengePlace(zones[inside], challenge(name))
    return f"there is no CNAME record {challenge(name)}; {wanted}" if target else wanted
