"""A name server of MiniStack's Route 53 zones: what is changed there is answered at once."""

from __future__ import annotations

from typing import Any

from scripts.fleet_parts import development_client
from tests.support.dns_server import DnsServer


class ZoneServer(DnsServer):
    """``records`` are those of other people's zones. ``asked`` are the TXT records that somebody has looked for."""

    def __init__(self, host: str, endpoint: str) -> None:
        self._route53: Any = development_client("route53", endpoint)
        self._zones: dict[str, str] = {}
        self.asked: list[str] = []
        super().__init__(host)

    def make(self, name: str, private: bool = False) -> None:
        """A hosted zone."""
        made = self._route53.create_hosted_zone(
            Name=name, CallerReference=name + str(private), HostedZoneConfig={"PrivateZone": private}
        )
        if not private:
            self._zones[name] = made["HostedZone"]["Id"]

    def texts(self, zone: str) -> dict[str, list[str]]:
        """The TXT records of a zone by their names."""
        sets = self._route53.list_resource_record_sets(HostedZoneId=self._zones[zone])["ResourceRecordSets"]
        return {
            one["Name"].rstrip("."): [record["Value"] for record in one["ResourceRecords"]]
            for one in sets
            if one["Type"] == "TXT"
        }

    def found(self, name: str, kind: str) -> list[str]:
        others = super().found(name, kind)
        if others or kind != "TXT":
            return others
        self.asked.append(name)
        return self._ours(name)

    def known(self, name: str) -> bool:
        return super().known(name) or bool(self._ours(name))

    def _ours(self, name: str) -> list[str]:
        zone = next((zone for zone in sorted(self._zones, key=len, reverse=True) if name.endswith(f".{zone}")), None)
        return self.texts(zone).get(name, []) if zone is not None else []
