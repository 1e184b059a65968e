"""What becomes of a REFER is told to its sender: NOTIFYs with a part of a response (RFC 3515 §2.4, RFC 3420)."""

from __future__ import annotations

from collections.abc import Callable

from edge.proxy.transfers.border_call import BorderCall, Speaker
from edge.sip.flow import Flow
from edge.sip.message import REASONS, Header, Response

_EXPIRES = 300  # seconds; nothing rings for longer


class Subscription:
    """One after another, since a phone takes those that overtake each other for wrong (RFC 3261 §12.2.2)."""

    def __init__(self, speaker: Speaker, call: BorderCall, flow: Flow, wanted: bool) -> None:
        """``flow`` is ours to send from; nobody is told anything that isn't ``wanted``."""
        self._speaker = speaker
        self._call = call
        self._flow = flow
        self._live = wanted
        self._waiting: list[tuple[str, bool]] = []
        self._sending = False
        self._last = ""
        self._then: Callable[[float], None] | None = None

    def tell(self, status: int, reason: str, now: float) -> None:
        """A response has come: a final one is the last word."""
        line = f"SIP/2.0 {status} {reason or REASONS.get(status, 'Unknown')}"
        if line != self._last:
            self._last = line
            self._waiting.append((line, status >= 200))
            self._go_on(now)

    def when_told(self, then: Callable[[float], None], now: float) -> None:
        """``then`` is called once everything was told, or nobody listens."""
        self._then = then
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        if self._sending:
            return
        if self._live and self._waiting:
            self._send(*self._waiting.pop(0), now)
        elif self._then is not None:
            then, self._then = self._then, None
            then(now)

    def _send(self, line: str, last: bool, now: float) -> None:
        state = "terminated;reason=noresource" if last else f"active;expires={_EXPIRES}"
        headers: list[Header] = [
            ("contact", f"Contact: <{self._call.contact}>"),
            ("event", "Event: refer"),
            ("subscription-state", f"Subscription-State: {state}"),
            ("content-type", "Content-Type: message/sipfrag;version=2.0"),
        ]
        call, body = self._call, f"{line}\r\n".encode()
        notify = self._speaker.made(self._flow, "NOTIFY", call.contact, call.at_phone, 1, headers, body)
        self._sending = True
        self._speaker.send(notify, call.phone, self._answered, now)

    def _answered(self, response: Response, now: float) -> None:
        if response.status >= 200 and self._sending:
            self._sending = False
            self._live = self._live and response.status < 300
            self._go_on(now)
