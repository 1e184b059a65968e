"""A user agent that tries an edge out: it registers, calls itself through the edge, hangs up and unregisters. Sans-IO:
messages in, messages out, and how long what took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge.providers.credentials import Authorizer, Hashes
from edge.sip.headers import NameAddr
from edge.sip.message import Header, Message, Request, Response, header_of, make_response
from edge.sip.timers import T1, T2
from edge.sip.transaction.client import make_ack
from lambdas.contract import Secret

PATIENCE = 6.0
"""Seconds that each of the two may take."""
_SDP = b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\na=inactive\r\n"


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds, and the status that ended it (0: none came in time)."""

    seconds: float
    status: int

    @property
    def good(self) -> bool:
        return self.status == 200


class ProbeAgent:
    """``here`` is ``host:port`` of its socket, ``aor`` and ``secret`` are its account's. ``results`` has "register" and
    "call" once they are over; ``done`` tells that nothing more will be sent."""

    def __init__(self, aor: str, secret: Secret, here: str, token: Callable[[], str], now: float) -> None:
        self._aor = aor
        self._here = here
        self._token = token
        self._authorizer = Authorizer(Hashes(secret))
        self._cseq = 0
        self._call_id = token()
        self._step = ""
        self._begun = 0.0
        self._request: Request | None = None
        self._again = 0.0
        self._interval = T1
        self._until = 0.0
        self._dialog: tuple[str, list[Header], str] | None = None  # remote target, routes, To
        self.results: dict[str, Result] = {}
        self.done = False
        self.out: list[bytes] = []
        self._start("register", self._make("REGISTER", f"sip:{aor.rpartition('@')[2]}", 120), now)

    # In

    def receive(self, message: Message, now: float) -> None:
        """A message has come; what is to be sent is in ``out``."""
        if isinstance(message, Request):
            self._asked(message)
        elif isinstance(message, Response) and self._is_answer(message):
            self._answered(message, now)

    def tick(self, now: float) -> None:
        """Time has passed."""
        if self.done or self._request is None:
            return
        if now >= self._until:
            self._over(0, now)
        elif now >= self._again:
            self._interval = min(2 * self._interval, T2)
            self._again = now + self._interval
            self.out.append(self._request.to_bytes())

    def _is_answer(self, response: Response) -> bool:
        wanted = self._request.get("via") if self._request is not None else None
        via = response.get("via")
        return wanted is not None and via is not None and _branch(via) == _branch(wanted)

    def _answered(self, response: Response, now: float) -> None:
        request = self._request
        assert request is not None
        if response.status < 200:
            self._again = self._until  # it has been heard
            return
        if request.method == "INVITE" and response.status >= 300:
            self.out.append(make_ack(request, response).to_bytes())
        if response.status in (401, 407) and self._authorizer.challenged(response):
            self._send(self._repeated(request), now)
            return
        if request.method == "INVITE" and response.status == 200:
            self._connected(response)
        self._over(response.status, now)

    def _asked(self, request: Request) -> None:
        """The call comes back to us: take it, and whatever follows."""
        if request.method == "ACK":
            return
        extra: list[Header] = []
        body = b""
        if request.method == "INVITE":
            extra = [header for header in request.headers if header[0] == "record-route"]
            extra += [
                ("contact", f"Contact: <sip:probe@{self._here}>"),
                ("content-type", "Content-Type: application/sdp"),
            ]
            body = _SDP
        self.out.append(make_response(request, 200, to_tag="called", headers=extra, body=body).to_bytes())

    # Out

    def _start(self, step: str, request: Request, now: float) -> None:
        self._step, self._begun, self._until = step, now, now + PATIENCE
        self._authorizer.begin()
        self._send(request, now)

    def _send(self, request: Request, now: float) -> None:
        self._request, self._interval, self._again = request, T1, now + T1
        self.out.append(request.to_bytes())

    def _over(self, status: int, now: float) -> None:
        """What is under way has ended: on to the next."""
        self._request = None
        step = self._step
        if step in ("register", "call"):
            self.results[step] = Result(now - self._begun, status)
        if step == "register" and status == 200:
            self._call_id = self._token()
            self._start("call", self._make("INVITE", f"sip:{self._aor}"), now)
        elif step == "call" and self._dialog is not None:
            self._start("bye", self._in_dialog("BYE"), now)
        elif step in ("call", "bye"):
            self._call_id = self._token()
            self._start("unregister", self._make("REGISTER", f"sip:{self._aor.rpartition('@')[2]}", 0), now)
        else:
            self.done = True

    def _connected(self, response: Response) -> None:
        target = NameAddr.parse(response.get("contact") or "").uri
        routes = [header_of(f"Route: {value}") for value in reversed(response.split_values("record-route"))]
        self._dialog = target, routes, response.get("to") or ""
        self.out.append(self._in_dialog("ACK").to_bytes())

    def _in_dialog(self, method: str) -> Request:
        assert self._dialog is not None
        target, routes, to = self._dialog
        request = self._make(method, target, to=to)
        request.headers[1:1] = routes
        return request

    def _make(self, method: str, uri: str, expires: int | None = None, to: str = "") -> Request:
        if method != "ACK":
            self._cseq += 1
        headers: list[Header] = [
            ("via", f"Via: SIP/2.0/UDP {self._here};branch=z9hG4bK{self._token()};rport"),
            ("max-forwards", "Max-Forwards: 70"),
            ("from", f"From: <sip:{self._aor}>;tag=caller"),
            ("to", f"To: {to or f'<sip:{self._aor}>'}"),
            ("call-id", f"Call-ID: {self._call_id}"),
            ("cseq", f"CSeq: {self._cseq} {method}"),
            ("contact", f"Contact: <sip:probe@{self._here}>"),
            ("user-agent", "User-Agent: sipwizard probe"),
        ]
        if expires is not None:
            headers.append(("expires", f"Expires: {expires}"))
        body = b""
        if method == "INVITE":
            headers.append(("content-type", "Content-Type: application/sdp"))
            body = _SDP
        headers += self._authorizer.headers(method, uri, self._token()) if method not in ("ACK", "BYE") else []
        headers.append(("content-length", f"Content-Length: {len(body)}"))
        return Request(method, uri, headers, body)

    def _repeated(self, request: Request) -> Request:
        """The same, with credentials."""
        expires = request.get("expires")
        return self._make(request.method, request.uri, int(expires) if expires is not None else None)


def _branch(via: str) -> str:
    return via.partition("branch=")[2].partition(";")[0]
