"""What the environment says of an installation, read once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Environment:
    """``public_url`` is the API's, where a stranger could choose the request's Host; ``sign_up``: anybody may have an
    account made; ``probe_seconds`` is how often edges try each other out (0: never); ``edge_roles`` is JSON, the
    instances that may become edges; ``control_urls`` are told to new edges, ``other_control`` those of other
    Regions; ``acme_directory`` is where certificates are had from, ``certificate_zone`` what tenants' DNS leads to for
    that; ``origin_secrets`` are what a distribution in front of the API shows that it is that, any of them."""

    public_url: str = ""
    sign_up: bool = False
    probe_seconds: float = 120.0
    edge_roles: str = "{}"
    control_urls: tuple[str, ...] = ()
    other_control: tuple[str, ...] = ()
    api_rate: int = 6000
    refused_rate: int = 600
    acme_directory: str = ""
    certificate_zone: str = ""
    origin_secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def read(cls) -> Environment:
        given = os.environ
        return cls(
            public_url=given.get("PUBLIC_URL", "").rstrip("/"),
            sign_up=given.get("SIGN_UP", "") == "on",
            probe_seconds=float(given.get("PROBE_SECONDS", "120")),
            edge_roles=given.get("EDGE_ROLES") or "{}",
            control_urls=tuple(given.get("CONTROL_URLS", "").split()),
            other_control=tuple(given.get("OTHER_CONTROL", "").split()),
            api_rate=int(given.get("API_RATE", "6000")),
            refused_rate=int(given.get("REFUSED_RATE", "600")),
            acme_directory=given.get("ACME_DIRECTORY", ""),
            certificate_zone=given.get("ACME_ZONE", "").lower().strip("."),
            origin_secrets=tuple(one.strip() for one in given.get("ORIGIN_SECRET", "").split(",") if one.strip()),
        )
