"""What the status page says, made from probes: how fast registrations and calls are, how often they work, and when they
didn't."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

HOUR = 3600
_INCIDENT = 2  # bad probes; one alone may be a packet lost


@dataclass(frozen=True, slots=True)
class Point:
    """One probe of an edge address. Seconds, None where it didn't work; ``at`` is Unix time; ``region`` the edge's, ""
    where that isn't known."""

    address: str
    at: float
    register: float | None
    call: float | None
    region: str = ""

    @property
    def good(self) -> bool:
        return self.register is not None and self.call is not None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The probes of an address, or of a Region's, from ``begin`` on (Unix time). Medians in seconds, None where nothing
    worked."""

    address: str
    begin: int
    probes: int
    good: int
    register: float | None
    call: float | None
    region: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.address} ({self.region})" if self.region and self.address else self.address or self.region


@dataclass(frozen=True, slots=True)
class Incident:
    """``ended`` is None while it lasts."""

    address: str
    begun: float
    ended: float | None
    bad: int


def buckets(points: Iterable[Point], seconds: int) -> list[Bucket]:
    """By address and time."""
    grouped: dict[tuple[str, int], list[Point]] = {}
    for point in points:
        grouped.setdefault((point.address, int(point.at) // seconds * seconds), []).append(point)
    return [
        Bucket(
            address,
            begin,
            len(found),
            sum(point.good for point in found),
            _median(point.register for point in found),
            _median(point.call for point in found),
            found[-1].region,
        )
        for (address, begin), found in sorted(grouped.items())
    ]


def wider(found: Iterable[Bucket], seconds: int) -> list[Bucket]:
    """Several of an address as one, weighed by what was good."""
    return _together(found, lambda bucket: (bucket.address, bucket.region, bucket.begin // seconds * seconds))


def by_region(found: Iterable[Bucket]) -> list[Bucket]:
    """Those of a Region's addresses as one, likewise; without those of no known Region."""
    known = (bucket for bucket in found if bucket.region)
    return _together(known, lambda bucket: ("", bucket.region, bucket.begin))


def _together(found: Iterable[Bucket], place: Callable[[Bucket], tuple[str, str, int]]) -> list[Bucket]:
    grouped: dict[tuple[str, str, int], list[Bucket]] = {}
    for bucket in found:
        grouped.setdefault(place(bucket), []).append(bucket)
    return [
        Bucket(
            address,
            begin,
            sum(bucket.probes for bucket in those),
            sum(bucket.good for bucket in those),
            _mean((bucket.register, bucket.good) for bucket in those),
            _mean((bucket.call, bucket.good) for bucket in those),
            region,
        )
        for (address, region, begin), those in sorted(grouped.items())
    ]


def _mean(values: Iterable[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None and weight]
    weight = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / weight if weight else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def incidents(points: Sequence[Point], known: Iterable[Incident] = ()) -> list[Incident]:
    """Two or more bad probes of an address in a row, whoever made them; over with the next good one. ``known`` are
    those of before: one that lasts goes on, and what came before the end of another isn't looked at again."""
    last: dict[str, Incident] = {}
    for incident in known:
        if incident.address not in last or incident.begun > last[incident.address].begun:
            last[incident.address] = incident
    by_address: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda point: point.at):
        before = last.get(point.address)
        if before is None or point.at > (before.begun if before.ended is None else before.ended):
            by_address.setdefault(point.address, []).append(point)
    found: list[Incident] = []
    for address, those in by_address.items():
        before = last.get(address)
        going_on = before if before is not None and before.ended is None else None
        bad: list[Point] = []
        for point in those:
            if not point.good:
                bad.append(point)
                continue
            if going_on is not None:
                found.append(replace(going_on, ended=point.at, bad=going_on.bad + len(bad)))
            elif len(bad) >= _INCIDENT:
                found.append(Incident(address, bad[0].at, point.at, len(bad)))
            going_on, bad = None, []
        if going_on is None and len(bad) >= _INCIDENT:
            found.append(Incident(address, bad[0].at, None, len(bad)))
    return sorted(found, key=lambda incident: incident.begun)


def silent(points: Iterable[Point], now: float, seconds: float) -> dict[str, float]:
    """The addresses that nobody has tried out for so long, and when they last were."""
    last: dict[str, float] = {}
    for point in points:
        last[point.address] = max(point.at, last.get(point.address, 0.0))
    return {address: at for address, at in sorted(last.items()) if at < now - seconds}


def uptime(found: Iterable[Bucket]) -> float | None:
    """The part of the probes that was good, from 0 to 1; None if there were none."""
    probes = good = 0
    for bucket in found:
        probes += bucket.probes
        good += bucket.good
    return good / probes if probes else None
