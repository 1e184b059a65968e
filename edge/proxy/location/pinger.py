"""The OPTIONS that keeps a NAT binding open. Sent once, without a transaction: the next one is a retransmission enough,
and every final answer counts, since it refreshes even the NATs that look at packets from inside only."""

from __future__ import annotations

from edge.sip.flow import Flow
from edge.sip.ids import Ids


class Pinger:
    """Makes pings and recognises their answers by the branch."""

    def __init__(self, owner: str, ids: Ids) -> None:
        self._prefix = f"{owner}ping-"
        self._ids = ids

    def make(self, flow: Flow, contact: str) -> bytes:
        token = self._ids.token()
        return (
            f"OPTIONS {contact} SIP/2.0\r\n"
            f"{flow.via(self._prefix + token)}\r\n"
            "Max-Forwards: 1\r\n"
            f"From: <sip:keepalive@{flow.sent_by}>;tag={token}\r\n"
            f"To: <{contact}>\r\n"
            f"Call-ID: {token}\r\n"
            "CSeq: 1 OPTIONS\r\n"
            "Content-Length: 0\r\n\r\n"
        ).encode("utf-8", "surrogateescape")

    def owns(self, branch: str) -> bool:
        """Whether a response with this branch answers a ping."""
        return branch.startswith(self._prefix)
