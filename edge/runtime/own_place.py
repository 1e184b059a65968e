"""Whether the configuration and the control plane say the same of the own edge address: what the control plane says
counts, for everybody else goes by it."""

from __future__ import annotations

import logging

from edge.config import Config
from lambdas.contract import EdgePlace, HeartbeatReply

log = logging.getLogger(__name__)


class OwnPlace:
    """Warns once of each difference."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._warned = ""

    def compare(self, reply: HeartbeatReply) -> None:
        """A heartbeat was answered."""
        config = self._config
        told = next((place for place in reply.places if place.address == config.address), EdgePlace(address=""))
        listens = any(at.ipv6 for at in config.listens)
        if told.address6 and not listens:
            why = f"{told.address6} is its IPv6 side, and nothing listens there; add it to listen"
        elif config.address6 and told.address6 != config.address6:
            why = f"its IPv6 side is {told.address6 or 'none'}, and not {config.address6}, as address6 says"
        elif config.name and told.name != config.name:
            why = f"its name is {told.name or 'none'}, and not {config.name}, as name says"
        elif listens and not told.address6:
            why = "it has no IPv6 side, though listen has one: phones there are told the IPv4 address"
        else:
            why = ""
        if why and why != self._warned:
            log.warning("the control plane knows %s otherwise: %s; see places of /v1/edges", config.address, why)
        self._warned = why
