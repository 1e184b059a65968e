"""Ending a call from outside: a BYE to each side in the other's name. They take the way that every request in the call
takes, through whatever borders, and so reach phones that have moved, or are at another edge."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from edge.proxy.forwarding.record_route import destination_of
from edge.proxy.forwarding.response_context import ResponseContext
from edge.proxy.stack.validation import MAX_FORWARDS, Fault, examine
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.message import Header, Request
from edge.sip.transaction import NonInviteServer
from lambdas.contract import CallEnded, OpenCall, Side

if TYPE_CHECKING:
    from edge.proxy.core import Core

_PORT = 5060


class HangingUp:
    """``end_all`` gets the whole list of calls to end every time: one that isn't in it any more is known to be over."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._left: dict[str, int] = {}  # call -> sides that haven't been told yet

    def end_all(self, calls: Iterable[OpenCall], now: float) -> None:
        wanted = {call.call: call for call in calls}
        self._left = {call: left for call, left in self._left.items() if left or call in wanted}
        for name, call in wanted.items():
            if name not in self._left:
                self._left[name] = len(call.sides)
                self._core.counters["calls_ended"] += 1
                for side in call.sides:
                    self._send_bye(side, call, lambda at, call=call: self._told(call, at), now)  # type: ignore[misc]

    def __bool__(self) -> bool:
        """Whether there is anything to forget."""
        return bool(self._left)

    def _told(self, call: OpenCall, now: float) -> None:
        self._left[call.call] -= 1
        if not self._left[call.call]:
            ended = self._core.wall(now)
            self._core.journal(
                CallEnded(
                    tenant=call.tenant,
                    call=call.call,
                    started=call.started,
                    ended=ended,
                    by="service",
                    reason=_reason(call.why),
                )
            )

    def _send_bye(self, side: Side, call: OpenCall, then: Callable[[float], None], now: float) -> None:
        core = self._core
        headers: list[Header] = [("route", f"Route: {route}") for route in side.routes]
        headers += [
            ("max-forwards", f"Max-Forwards: {MAX_FORWARDS}"),
            ("from", f"From: {side.sender}"),
            ("to", f"To: {side.receiver}"),
            ("call-id", f"Call-ID: {side.call_id}"),
            ("cseq", f"CSeq: {side.cseq} BYE"),
            ("reason", f"Reason: {_reason(call.why)}"),
            ("content-length", "Content-Length: 0"),
        ]
        flow = Flow(call.address, _PORT, "tcp", call.address, _PORT)  # from ourselves
        request = Request("BYE", side.uri, headers)
        server = NonInviteServer(_Nobody(core, then), (core.new_token(),), flow, "", now)
        try:
            incoming = examine(flow, request)
            destination = destination_of(incoming, core.fleet_now)
            if destination is None:
                raise Fault(481)
            _Bye(core, incoming, server, "").forward_in_dialog(destination, now)
        except (Fault, ParseError):
            core.counters["calls_unreachable"] += 1  # the dialog is older than its tokens
            then(now)


def _reason(why: str) -> str:
    """A Reason value (RFC 3326)."""
    return f'SIP;cause=200;text="Ended by the service{": " if why else ""}{why}"'


class _Bye(ResponseContext):
    """A BYE of ours: that the call is over is reported once both sides know."""

    def note_end(self, status: int, now: float) -> None:
        pass


class _Nobody:
    """Stands where the request of somebody else would have come from."""

    def __init__(self, core: Core, then: Callable[[float], None]) -> None:
        self.timers = core.timers
        self._then = then

    def transmit(self, flow: Flow, data: bytes, ref: str) -> None:
        """The answer is of no use to anybody."""

    def terminated(self, transaction: Any) -> None:
        self._then(transaction.now)
