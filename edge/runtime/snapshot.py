"""What the core is told of the fleet: a heartbeat's news, and what this machine holds just now."""

from __future__ import annotations

import base64
import time
from functools import lru_cache

from edge.control.heartbeat import News
from edge.media.judging import Networks
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.flow_token import TokenKeys
from edge.sip.places import Places
from lambdas.contract import FleetKey, HeartbeatReply

_READ_SINCE = 9  # the version of the contract from which edges know the sides of each other's addresses


def snapshot(
    news: News,
    served: dict[str, int],
    arriving: frozenset[str],
    exclusive: dict[str, tuple[float, float]],
    media: bool = False,
) -> Fleet:
    """``served`` are the addresses here with their epochs, ``arriving`` those on their way, ``exclusive`` the times in
    which nobody else registers from them; ``media``: there are media engines."""
    reply: HeartbeatReply = news.reply
    use: FleetKey = next(key for key in reply.keys if key.use)
    return Fleet(
        epochs=served,
        places=Places(
            reply.addresses,
            {place.address: (place.address6, place.name) for place in reply.places},
            shown=reply.spoken >= _READ_SINCE,
        ),
        domains=news.domains,
        default_domain=reply.default_domain,
        nonce_keys={key.id: base64.b64decode(key.nonce) for key in reply.keys},
        nonce_key=use.id,
        tokens=TokenKeys({key.id: base64.b64decode(key.token) for key in reply.keys}, use.id),
        clock=time.time() - time.monotonic(),
        informed_at=news.at,
        arriving=arriving,
        spoken=reply.spoken,
        elsewhere={
            held.address: held.epoch for edge in reply.fleet for held in edge.held if held.address not in served
        },
        media=media,
        public_networks=_networks(tuple(news.public_networks)),
        exclusive={address: times for address, times in exclusive.items() if address in served},
    )


@lru_cache(1)
def _networks(networks: tuple[str, ...]) -> Networks:
    """They are the same in nearly every heartbeat."""
    return Networks(networks)


def ticket_keys(reply: HeartbeatReply) -> tuple[dict[int, bytes], int]:
    """What TLS sessions are sealed with, and which of them from now on. Empty if the control plane doesn't know any."""
    keys = {key.id: base64.b64decode(key.ticket) for key in reply.keys if key.ticket}
    return keys, next((key.id for key in reply.keys if key.use and key.ticket), 0)
