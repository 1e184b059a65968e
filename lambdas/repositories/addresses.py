"""Elastic IPs, and the IPv6 addresses beside them: moving one to the machine that holds it now."""

from __future__ import annotations

import logging
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lambdas.repositories.clients import client

log = logging.getLogger(__name__)


class Addresses:
    """EC2, which fences too: once an address is associated anew, the old machine's packets don't have it any more."""

    def __init__(self) -> None:
        self._client: Any = None

    @property
    def _ec2(self) -> Any:
        if self._client is None:
            config = Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 2})
            self._client = client("ec2", config)
        return self._client

    def move(self, address: str, interface: str, private: str) -> bool:
        """Associate ``address`` with ``private`` of a network interface; whether EC2 confirms that it is there."""
        try:
            found = self._find(address)
            if not _is_at(found, interface, private):
                self._ec2.associate_address(
                    AllocationId=found["AllocationId"],
                    NetworkInterfaceId=interface,
                    PrivateIpAddress=private,
                    AllowReassociation=True,
                )
                found = self._find(address)
        except (ClientError, BotoCoreError, LookupError) as error:
            log.error("%s can't be moved to %s of %s: %s", address, private, interface, error)
            return False
        return _is_at(found, interface, private)

    def move_ipv6(self, address6: str, interface: str) -> bool:
        """Assign an IPv6 address to a network interface; whether EC2 confirms that it is there. It can be at interfaces
        of its own subnet only."""
        try:
            here = self._interface(interface)
            if not _has(here, address6):
                for found in self._interfaces(Filters=[{"Name": "ipv6-addresses.ipv6-address", "Values": [address6]}]):
                    if found["SubnetId"] != here["SubnetId"]:
                        raise LookupError(f"it belongs to {found['SubnetId']}, and the interface to {here['SubnetId']}")
                    self._ec2.unassign_ipv6_addresses(
                        NetworkInterfaceId=found["NetworkInterfaceId"], Ipv6Addresses=[address6]
                    )
                self._ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6Addresses=[address6])
                if not _has(self._interface(interface), address6):
                    raise LookupError("EC2 doesn't say that it is there")
        except (ClientError, BotoCoreError, LookupError) as error:
            log.error("%s can't be moved to %s: %s", address6, interface, error)
            return False
        return True

    def _interface(self, interface: str) -> dict[str, Any]:
        return self._interfaces(NetworkInterfaceIds=[interface])[0]

    def _interfaces(self, **asked: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ec2.describe_network_interfaces(**asked)["NetworkInterfaces"]
        return found

    def _find(self, address: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = self._ec2.describe_addresses(PublicIps=[address])["Addresses"]
        if not found:
            raise LookupError(f"{address} isn't an Elastic IP of this account and Region")
        return found[0]


def _is_at(found: dict[str, Any], interface: str, private: str) -> bool:
    return (found.get("NetworkInterfaceId"), found.get("PrivateIpAddress")) == (interface, private)


def _has(interface: dict[str, Any], address6: str) -> bool:
    return address6 in [one["Ipv6Address"] for one in interface.get("Ipv6Addresses", [])]
