"""The OPTIONS that keeps a NAT binding open. Sent once, without a transaction: the next one is a retransmission enough,
and every final answer counts, since it refreshes even the NATs that look at packets from inside only."""

from __future__ import annotations

from collections.abc import Sequence

from edge.sip.flow import Flow
from edge.sip.ids import Ids
from edge.sip.message import Request, header_of
from edge.sip.places import Places


def make_options(
    flow: Flow, places: Places, contact: str, branch: str, token: str, hops: int = 1, path: Sequence[str] = ()
) -> Request:
    """To the phone at ``contact`` on ``flow``, ``path`` leading on from there; ``token`` is nobody else's."""
    lines = [
        places.via(flow, branch),
        *(f"Route: {value}" for value in path),
        f"Max-Forwards: {hops}",
        f"From: <sip:keepalive@{places.sent_by(flow)}>;tag={token}",
        f"To: <{contact}>",
        f"Call-ID: {token}",
        "CSeq: 1 OPTIONS",
        "Content-Length: 0",
    ]
    return Request("OPTIONS", contact, [header_of(line) for line in lines])


class Pinger:
    """Makes pings and recognises their answers by the branch."""

    def __init__(self, owner: str, ids: Ids) -> None:
        self._prefix = f"{owner}ping-"
        self._ids = ids

    def make(self, flow: Flow, places: Places, contact: str) -> bytes:
        token = self._ids.token()
        return make_options(flow, places, contact, self._prefix + token, token).to_bytes()

    def owns(self, branch: str) -> bool:
        """Whether a response with this branch answers a ping."""
        return branch.startswith(self._prefix)
