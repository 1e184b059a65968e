"""The other end of a real phone's calls: a scripted phone that answers what is offered, and follows transfers."""

from __future__ import annotations

from urllib.parse import unquote

from edge.sip.headers import NameAddr
from edge.sip.message import Request, Response
from edge.sip.transaction.client import make_ack, make_cancel
from tests.support.agent import Dialog, unique
from tests.support.socket_phone import PATIENCE, SocketPhone

_MIRRORED = {"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
_SDP = (
    "v=0\r\no=- {version} {version} IN {family} {host}\r\ns=-\r\nc=IN {family} {host}\r\nt=0 0\r\n"
    "m=audio 20000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na={direction}\r\n"
)


def direction(body: bytes) -> str:
    """Of the first stream: ``sendrecv`` unless it says otherwise; ``c=0.0.0.0`` is the old way to say ``inactive``."""
    if b"c=IN IP4 0.0.0.0" in body:
        return "inactive"
    found = [name for name in ("sendonly", "recvonly", "inactive") if f"a={name}".encode() in body]
    return found[0] if found else "sendrecv"


class Peer(SocketPhone):
    """``serial`` counts its session descriptions."""

    serial = 0

    def sdp(self, way: str = "sendrecv") -> bytes:
        self.serial += 1
        host = self.agent.host.strip("[]")
        family = "IP6" if ":" in host else "IP4"
        return _SDP.format(version=self.serial, family=family, host=host, direction=way).encode()

    def accept(self, request: Request) -> Response:
        """200, with a session description that answers the one in ``request``."""
        if request.method != "INVITE":
            return self.reply(request, 200)
        way = direction(request.body)
        ok = self.agent.response(
            request, 200, headers=["Content-Type: application/sdp"], body=self.sdp(_MIRRORED.get(way, way))
        )
        self.send(ok.to_bytes())
        return ok

    def reply(self, request: Request, status: int) -> Response:
        response = self.agent.response(request, status)
        self.send(response.to_bytes())
        return response

    def comes(self, method: str, number: int = 0, seconds: float = PATIENCE) -> Request:
        """The ``number``-th request that has come since the agent's memory was cleared, its retransmissions left out."""

        def different() -> list[Request]:
            return list({request.get("cseq"): request for request in self.agent.requests(method)}.values())[number:]

        found: Request = self.wait(different, seconds)[0]
        return found

    def dial(self, uri: str, headers: list[str] | None = None) -> Request:
        """An INVITE that has been asked for its credentials."""
        lines = [f"Contact: {self.agent.contact}", "Content-Type: application/sdp", *(headers or [])]
        invite = self.agent.request("INVITE", uri, headers=lines, body=self.sdp(), call_id=unique("call-of-peer-"))
        self.send(invite.to_bytes())
        challenge = self.wait(lambda: self.agent.final(invite), resend=invite.to_bytes())
        assert challenge.status == 407, challenge.start_line
        self.acknowledge_refusal(invite, challenge)
        again = self.agent.authorize(invite, challenge)
        self.send(again.to_bytes())
        return again

    def acknowledge_refusal(self, invite: Request, refusal: Response) -> None:
        self.send(make_ack(invite, refusal).to_bytes())

    def give_up(self, invite: Request) -> None:
        """CANCEL, to the end."""
        self.send(make_cancel(invite).to_bytes())
        final = self.wait(lambda: self.agent.final(invite))
        assert final.status == 487, final.start_line
        self.acknowledge_refusal(invite, final)

    def established(self, invite: Request) -> Dialog:
        """The dialog of an INVITE that is being answered."""
        answer = self.wait(lambda: self.agent.final(invite))
        assert answer.status == 200, answer.start_line
        dialog = self.agent.caller_dialog(invite, answer)
        self.send(self.agent.in_dialog(dialog, "ACK").to_bytes())
        return dialog

    def ask(self, dialog: Dialog, method: str, body: bytes = b"", headers: list[str] | None = None) -> Response:
        """A request in the dialog, to its end."""
        lines = [*(headers or []), *(["Content-Type: application/sdp"] if body else [])]
        request = self.agent.in_dialog(dialog, method, body, lines)
        self.send(request.to_bytes())
        answer: Response = self.wait(lambda: self.agent.final(request), resend=request.to_bytes())
        if method == "INVITE" and answer.status == 200:
            self.send(self.agent.in_dialog(dialog, "ACK").to_bytes())
        return answer

    def follow(self, refer: Request, dialog: Dialog) -> Request:
        """Do what a REFER says: 202, an INVITE to whoever it names (with Replaces, where it has one)."""
        self.reply(refer, 202)
        uri, _, headers = NameAddr.parse(refer.get("refer-to") or "").uri.partition("?")
        lines = [
            f"Replaces: {unquote(part[9:])}" for part in headers.split("&") if part.lower().startswith("replaces=")
        ]
        self.tell(dialog, "SIP/2.0 100 Trying", "active;expires=60")
        return self.dial(uri, lines)

    def tell(self, dialog: Dialog, sipfrag: str, state: str) -> Response:
        """What has become of a transfer (RFC 3515 §2.4.4)."""
        lines = ["Event: refer", f"Subscription-State: {state}", "Content-Type: message/sipfrag;version=2.0"]
        request = self.agent.in_dialog(dialog, "NOTIFY", f"{sipfrag}\r\n".encode(), lines)
        self.send(request.to_bytes())
        answer: Response = self.wait(lambda: self.agent.final(request), resend=request.to_bytes())
        return answer
