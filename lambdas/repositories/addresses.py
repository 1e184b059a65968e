"""Elastic IPs: moving one to the machine that holds it now."""

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
        self._ec2: Any = None

    def move(self, address: str, interface: str, private: str) -> bool:
        """Associate ``address`` with ``private`` of a network interface; whether EC2 confirms that it is there."""
        try:
            if self._ec2 is None:
                config = Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 2})
                self._ec2 = client("ec2", config)
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

    def _find(self, address: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = self._ec2.describe_addresses(PublicIps=[address])["Addresses"]
        if not found:
            raise LookupError(f"{address} isn't an Elastic IP of this account and Region")
        return found[0]


def _is_at(found: dict[str, Any], interface: str, private: str) -> bool:
    return (found.get("NetworkInterfaceId"), found.get("PrivateIpAddress")) == (interface, private)
