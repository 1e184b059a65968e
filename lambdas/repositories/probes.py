"""Probes in the table of calls: each for nine days, sums of each hour for as long, and incidents for ninety."""

from __future__ import annotations

import time
from collections.abc import Iterable

from lambdas.contract import ProbeReport
from lambdas.decisions.status import Bucket, Incident, Point
from lambdas.repositories.call_models import ProbeItem

_KEEP, _KEEP_INCIDENTS = 9 * 86_400, 90 * 86_400
_DAY = 86_400
_HOURS, _INCIDENTS = f"probe-hours#{ProbeItem.Meta.region}", f"incidents#{ProbeItem.Meta.region}"


class Probes:
    """Writes are idempotent."""

    def add(self, report: ProbeReport) -> None:
        register = report.register_seconds if report.register_status == 200 else None
        call = report.call_seconds if report.call_status == 200 else None
        ProbeItem(
            f"probes#{_day(report.at)}",
            f"{report.at:016.3f}#{report.edge}#{report.address}",
            address=report.address,
            at=report.at,
            register=register,
            call=call,
            region=report.region,
            ttl=int(report.at) + _KEEP,
        ).save()

    def since(self, begin: float, now: float) -> list[Point]:
        """Those from ``begin`` on."""
        days = sorted({_day(begin), _day(now)} | {_day(at) for at in range(int(begin), int(now), _DAY)})
        return [
            Point(item.address, float(item.at), _seconds(item.register), _seconds(item.call), item.region)
            for day in days
            for item in ProbeItem.query(f"probes#{day}", ProbeItem.sk >= f"{begin:016.3f}")
        ]

    def keep_hours(self, found: Iterable[Bucket]) -> None:
        for bucket in found:
            ProbeItem(
                _HOURS,
                f"{bucket.begin:010d}#{bucket.address}",
                address=bucket.address,
                at=bucket.begin,
                register=bucket.register,
                call=bucket.call,
                probes=bucket.probes,
                good=bucket.good,
                region=bucket.region,
                ttl=bucket.begin + _KEEP,
            ).save()

    def hours(self, begin: float) -> list[Bucket]:
        """The sums of the hours from ``begin`` on."""
        return [
            Bucket(
                item.address,
                int(item.at),
                int(item.probes or 0),
                int(item.good or 0),
                _seconds(item.register),
                _seconds(item.call),
                item.region,
            )
            for item in ProbeItem.query(_HOURS, ProbeItem.sk >= f"{int(begin):010d}")
        ]

    def keep_incidents(self, found: Iterable[Incident]) -> None:
        for incident in found:
            ProbeItem(
                _INCIDENTS,
                f"{incident.begun:016.3f}#{incident.address}",
                address=incident.address,
                at=incident.begun,
                ended=incident.ended,
                probes=incident.bad,
                ttl=int(incident.begun) + _KEEP_INCIDENTS,
            ).save()

    def incidents(self, limit: int) -> list[Incident]:
        """The last ones, newest first."""
        return [
            Incident(item.address, float(item.at), _seconds(item.ended), int(item.probes or 0))
            for item in ProbeItem.query(_INCIDENTS, scan_index_forward=False, limit=limit)
        ]


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def _seconds(value: float | None) -> float | None:
    return float(value) if value is not None else None
