"""Our DNS zones, in Route 53."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lambdas.repositories.clients import client

if TYPE_CHECKING:
    from types_boto3_route53 import Route53Client

_TTL = 30  # seconds
_PAGES = 50  # of a hundred zones


class ZoneError(Exception):
    """Route 53 hasn't done it; the text says why."""


class Zones:
    """The hosted zones of the account that everybody can ask."""

    def names(self) -> dict[str, str]:
        """Each zone's name, and its id. Raises ZoneError."""
        found: dict[str, str] = {}
        following: dict[str, Any] = {}
        for _ in range(_PAGES):
            try:
                page = self._client.list_hosted_zones_by_name(**following)
            except (BotoCoreError, ClientError) as error:
                raise ZoneError(f"Route 53 doesn't tell our zones: {error}") from error
            for zone in page["HostedZones"]:
                if not zone.get("Config", {}).get("PrivateZone"):
                    found.setdefault(zone["Name"].rstrip(".").lower(), zone["Id"].rpartition("/")[2])
            if not page["IsTruncated"]:
                break
            following = {"DNSName": page["NextDNSName"], "HostedZoneId": page["NextHostedZoneId"]}
        return found

    def put(self, zone: str, record: str, value: str) -> str:
        """Have the TXT record say ``value`` and nothing else; the change's id. Raises ZoneError."""
        return self._changed("UPSERT", zone, record, value)

    def remove(self, zone: str, record: str, value: str) -> None:
        """Raises ZoneError, also where there is none that says so."""
        self._changed("DELETE", zone, record, value)

    def everywhere(self, change: str) -> bool:
        """Whether all name servers of the zone have it. Raises ZoneError."""
        try:
            return self._client.get_change(Id=change)["ChangeInfo"]["Status"] == "INSYNC"
        except (BotoCoreError, ClientError) as error:
            raise ZoneError(f"Route 53 doesn't tell how a change stands: {error}") from error

    def _changed(self, action: Any, zone: str, record: str, value: str) -> str:
        # One value as one string: those of several strings, or of several records, are others to the CA.
        text: Any = {"Name": record, "Type": "TXT", "TTL": _TTL, "ResourceRecords": [{"Value": f'"{value}"'}]}
        try:
            reply = self._client.change_resource_record_sets(
                HostedZoneId=zone, ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": text}]}
            )
        except (BotoCoreError, ClientError) as error:
            raise ZoneError(f"Route 53 doesn't change {record}: {error}") from error
        return reply["ChangeInfo"]["Id"].rpartition("/")[2]

    @cached_property
    def _client(self) -> Route53Client:
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 3})
        made: Route53Client = client("route53", config)
        return made
