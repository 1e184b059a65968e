"""What a development fleet consists of: hosts, edges and accounts, and the names and ports that all of them have."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).parent.parent
PREFIX = "sipwizard"
DOMAIN = "sipwizard.test"
USERS = ("alice", "bob", "carol", "dave")
SIP, SIPS, WSS, MESH, METRICS, CONTROL, MINISTACK = 5060, 5061, 5062, 5070, 9090, 8080, 4566
WEB_PHONE = 8082  # where scripts/up serves a page with one

_REGION, _DEVELOPMENT = "us-east-1", "development"  # MiniStack takes any credentials
DEVELOPMENT_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": _DEVELOPMENT,
    "AWS_SECRET_ACCESS_KEY": _DEVELOPMENT,
    "AWS_DEFAULT_REGION": _REGION,
}


def development_client(service: str, endpoint: str, region: str = _REGION, **config: Any) -> Any:
    """A boto3 client of a MiniStack."""
    client: Any = boto3.client  # its types know each service by its literal name
    return client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=_DEVELOPMENT,
        aws_secret_access_key=_DEVELOPMENT,
        config=Config(**config),
    )


@dataclass(frozen=True)
class Host:
    """Where something runs: an address, and a network namespace if it isn't this one."""

    address: str
    namespace: str | None = None


@dataclass
class DevelopmentEdge:
    """``settings`` go into its configuration; ``may_hold`` are the edge addresses it is registered for, its own if
    empty; ``environment`` is for its processes, beside what all have."""

    id: str
    host: Host
    settings: dict[str, Any] = field(default_factory=dict)
    may_hold: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return str(self.settings.get("address", self.host.address))

    @property
    def places(self) -> list[dict[str, str]]:
        """The sides of its address, as the control plane is told of them."""
        sides = {name: str(self.settings[name]) for name in ("address6", "name") if self.settings.get(name)}
        return [{"address": self.address, **sides}] if sides else []

    @property
    def address6(self) -> str:
        """Its IPv6 side, "" for none."""
        return str(self.settings.get("address6", ""))

    @property
    def name(self) -> str:
        """What its certificate calls it, beside its addresses."""
        return str(self.settings.get("name", f"{self.id}.{DOMAIN}"))

    @property
    def sip(self) -> str:
        return f"{self.address}:{SIP}"

    @property
    def listeners(self) -> dict[str, str]:
        """``host:port`` by ``udp``, ``tcp``, ``tls``, ``wss``, and with a ``6`` those by IPv6; none where its settings
        say themselves how it listens."""
        if "listen" in self.settings:
            return {}
        ports = {"udp": SIP, "tcp": SIP, "tls": SIPS, "wss": WSS}
        found = {name: f"{self.address}:{port}" for name, port in ports.items()}
        if self.address6:
            found |= {f"{name}6": f"[{self.address6}]:{port}" for name, port in ports.items()}
        return found

    @property
    def metrics(self) -> str:
        return str(self.settings.get("metrics", f"{self.host.address}:{METRICS}"))


@dataclass(frozen=True)
class PhoneAccount:
    aor: str
    username: str
    password: str
