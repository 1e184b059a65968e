"""A scripted SIP user agent without I/O: it builds requests and responses, and reads what it gets. Worlds with virtual
clocks and worlds with sockets both use it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.sip.headers import NameAddr, parse_digest, split_list
from edge.sip.message import Message, Request, Response, make_response
from edge.sip.parser import parse

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8\r\n"
_serial = itertools.count(1)


def _branch(message: Message) -> str:
    """That of the top Via."""
    return (message.get("via") or "").partition("branch=")[2].partition(";")[0]


def unique(prefix: str) -> str:
    return f"{prefix}{next(_serial)}"


@dataclass
class Dialog:
    """One side of a dialog (RFC 3261 §12). ``last``: the highest number that the other side has used, if noted."""

    call_id: str
    local: str
    remote: str
    target: str
    routes: list[str]
    cseq: int = 1
    last: int = 0


@dataclass
class Agent:
    """``host:port`` is what it believes its address to be (inside the NAT); ``send`` takes bytes to its edge."""

    username: str
    domain: str
    password: str
    host: str
    port: int
    send: Callable[[bytes], None]
    transport: str = "UDP"
    received: list[Message] = field(default_factory=list)
    answers_options: bool = True
    algorithm: str = "MD5"
    instance: str = ""
    reg_id: int = 1
    register_cseq: int = 0
    nonce_count: int = 0
    fixed_call_id: str = ""  # of all its calls, instead of one for each
    scheme: str = "sip"  # of its Contact
    contact_params: str = ""  # of its Contact's URI, beside the transport
    sdp: bytes = SDP  # what it says of its media

    def __post_init__(self) -> None:
        self.call_id = unique(f"reg-{self.username}-")
        self.pings = 0

    @property
    def aor(self) -> str:
        return f"sip:{self.username}@{self.domain}"

    @property
    def contact(self) -> str:
        transport = "ws" if self.transport == "WSS" else self.transport.lower()
        suffix = "" if transport == "udp" else f";transport={transport}"
        return f"<{self.scheme}:{self.username}@{self.host}:{self.port}{suffix}{self.contact_params}>"

    def take(self, data: bytes) -> Message:
        """Something came in. Keep-alive OPTIONS are answered, and not kept."""
        message = parse(data)
        if isinstance(message, Request) and message.method == "OPTIONS" and "keepalive@" in (message.get("from") or ""):
            self.pings += 1
            if self.answers_options:
                self.send(make_response(message, 200, to_tag="ping").to_bytes())
            return message
        self.received.append(message)
        return message

    # Building

    def request(
        self,
        method: str,
        uri: str,
        to: str = "",
        headers: list[str] | None = None,
        body: bytes = b"",
        call_id: str = "",
        cseq: int = 1,
        from_: str = "",
        branch: str = "",
        max_forwards: int = 70,
    ) -> Request:
        sender = from_ or f"<{self.aor}>;tag={unique('f')}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/{self.transport} {self.host}:{self.port};rport;branch={branch or unique('z9hG4bKua')}",
            f"Max-Forwards: {max_forwards}",
            f"From: {sender}",
            f"To: {to or '<' + uri + '>'}",
            f"Call-ID: {call_id or unique('call-')}",
            f"CSeq: {cseq} {method}",
            *(headers or []),
            f"Content-Length: {len(body)}",
        ]
        message = parse("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body)
        assert isinstance(message, Request)
        return message

    def register_request(
        self, expires: int | None = 3600, contact: str = "", headers: list[str] | None = None
    ) -> Request:
        self.register_cseq += 1
        extra = [f"Contact: {contact or self.contact}{self._outbound()}", *(headers or [])]
        if expires is not None:
            extra.append(f"Expires: {expires}")
        uri = f"sip:{self.domain}"
        return self.request("REGISTER", uri, f"<{self.aor}>", extra, call_id=self.call_id, cseq=self.register_cseq)

    def request_query(self) -> Request:
        """A REGISTER without Contact: what is registered? (§10.2.3)"""
        request = self.register_request(None)
        request.headers = [header for header in request.headers if header[0] != "contact"]
        return request

    def _outbound(self) -> str:
        flow = f";reg-id={self.reg_id}" if self.reg_id else ""
        return f';+sip.instance="<{self.instance}>"{flow}' if self.instance else ""

    def authorize(self, request: Request, challenge: Response) -> Request:
        """``request`` again, with credentials for the challenge that fits our algorithm, a new branch and CSeq."""
        proxy = challenge.status == 407
        name = "proxy-authenticate" if proxy else "www-authenticate"
        for value in challenge.values(name):
            params = parse_digest(value)
            if params and params.get("algorithm", "MD5") == self.algorithm:
                break
        else:
            raise AssertionError(f"no {self.algorithm} challenge in {challenge.values(name)}")
        header = self.credentials(request.method, request.uri, params)
        number = int((request.get("cseq") or "").split()[0]) + 1
        if request.method == "REGISTER":
            self.register_cseq = number
        headers = []
        for key, line in request.headers:
            if key == "via":
                line = f"Via: SIP/2.0/{self.transport} {self.host}:{self.port};rport;branch={unique('z9hG4bKua')}"
            elif key == "cseq":
                line = f"CSeq: {number} {request.method}"
            elif key in ("authorization", "proxy-authorization"):
                continue
            headers.append((key, line))
        field_name = "Proxy-Authorization" if proxy else "Authorization"
        headers.insert(1, (field_name.lower(), f"{field_name}: {header}"))
        return Request(request.method, request.uri, headers, request.body)

    def credentials(self, method: str, uri: str, params: dict[str, str]) -> str:
        self.nonce_count += 1
        hasher = hashlib.md5 if self.algorithm == "MD5" else hashlib.sha256

        def digest(text: str) -> str:
            return hasher(text.encode()).hexdigest()

        realm, nonce, nc, cnonce = params["realm"], params["nonce"], f"{self.nonce_count:08x}", unique("c")
        ha1 = digest(f"{self.username}:{realm}:{self.password}")
        response = digest(f"{ha1}:{nonce}:{nc}:{cnonce}:auth:{digest(f'{method}:{uri}')}")
        return (
            f'Digest username="{self.username}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
            f'response="{response}", algorithm={self.algorithm}, qop=auth, nc={nc}, cnonce="{cnonce}"'
        )

    def invite_request(self, uri: str, headers: list[str] | None = None) -> Request:
        contact = f"Contact: {self.contact}"
        return self.request(
            "INVITE", uri, headers=[contact, *(headers or [])], body=self.sdp, call_id=self.fixed_call_id
        )

    def response(
        self, request: Request, status: int, tag: str = "", headers: list[str] | None = None, body: bytes = b""
    ) -> Response:
        extra = [("x", line) for line in headers or []]
        if status == 200 and request.method == "INVITE":
            body = body or self.sdp
        if request.method in ("INVITE", "SUBSCRIBE") and 100 < status < 300:
            extra += [("record-route", line) for key, line in request.headers if key == "record-route"]
            extra.append(("contact", f"Contact: {self.contact}"))
        return make_response(request, status, to_tag=tag or f"tag-{self.username}", headers=extra, body=body)

    # Dialogs

    def caller_dialog(self, invite: Request, response: Response) -> Dialog:
        routes = [route for value in response.values("record-route") for route in split_list(value)]
        return Dialog(
            call_id=invite.get("call-id") or "",
            local=invite.get("from") or "",
            remote=response.get("to") or "",
            target=NameAddr.parse(response.get("contact") or "").uri,
            routes=routes[::-1],
            cseq=int((invite.get("cseq") or "").split()[0]),
        )

    def callee_dialog(self, invite: Request, response: Response) -> Dialog:
        return Dialog(
            call_id=invite.get("call-id") or "",
            local=response.get("to") or "",
            remote=invite.get("from") or "",
            target=NameAddr.parse(invite.get("contact") or "").uri,
            routes=[route for value in invite.values("record-route") for route in split_list(value)],
            cseq=100,
        )

    def in_dialog(self, dialog: Dialog, method: str, body: bytes = b"", headers: list[str] | None = None) -> Request:
        if method not in ("ACK", "CANCEL"):
            dialog.cseq += 1
        extra = [f"Route: {route}" for route in dialog.routes] + [f"Contact: {self.contact}", *(headers or [])]
        return self.request(
            method,
            dialog.target,
            dialog.remote,
            extra,
            body,
            call_id=dialog.call_id,
            cseq=dialog.cseq,
            from_=dialog.local,
        )

    # Reading

    def requests(self, method: str) -> list[Request]:
        return [item for item in self.received if isinstance(item, Request) and item.method == method]

    def responses(self, method: str, call_id: str = "") -> list[Response]:
        return [
            item
            for item in self.received
            if isinstance(item, Response)
            and (item.get("cseq") or "").endswith(f" {method}")
            and call_id in ("", item.get("call-id"))
        ]

    def final(self, request: Request) -> Response | None:
        """The final response to ``request``, if it has come: known by branch and method (RFC 3261 §17.1.3), since calls
        of one Call-ID have the same numbers."""
        for item in self.responses(request.method, request.get("call-id") or ""):
            if item.status >= 200 and _branch(item) == _branch(request):
                return item
        return None

    def statuses(self, method: str, call_id: str = "") -> list[int]:
        return [item.status for item in self.responses(method, call_id)]
