"""Ending a call from outside: a BYE to each side in the other's name. They take the way that every request in the call
takes, through whatever borders, and so reach phones that have moved, or are at another edge."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from edge.media.orders import SideQuality
from edge.proxy.forwarding.call_record import quality_of
from edge.proxy.forwarding.forwarder import Forwarder
from edge.proxy.forwarding.media_gate import OnQuality
from edge.proxy.forwarding.own_requests import Responses, make_own
from edge.proxy.forwarding.record_route import route_of
from edge.proxy.stack.stack import Stack
from edge.proxy.stack.validation import examine
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.incoming import Fault
from edge.sip.message import Header, Response
from edge.sip.uri import DEFAULT_PORT
from lambdas.contract import CallEnded, MediaQuality, OpenCall, Side


class HangingUp:
    """``end_all`` gets the whole list of calls to end every time: one that isn't in it any more is known to be over."""

    def __init__(self, stack: Stack, forwarder: Forwarder) -> None:
        self._stack = stack
        self._forwarder = forwarder
        self._left: dict[str, int] = {}  # call -> sides that haven't been told yet
        self._quality: dict[str, list[MediaQuality]] = {}

    def end_all(self, calls: Iterable[OpenCall], now: float) -> None:
        wanted = {call.call: call for call in calls}
        self._left = {call: left for call, left in self._left.items() if left or call in wanted}
        for name, call in wanted.items():
            if name not in self._left:
                self._left[name] = len(call.sides)
                self._stack.counters["calls_ended"] += 1
                for index, side in enumerate(call.sides):
                    self._send_bye(side, call, partial(self._told, call), partial(self._heard, name, index), now)

    def __bool__(self) -> bool:
        """Whether there is anything to forget."""
        return bool(self._left)

    def _heard(self, call: str, side: int, quality: tuple[SideQuality, ...], now: float) -> None:
        """What the media engine says, once the first BYE is answered."""
        if quality and self._left.get(call):
            self._quality[call] = quality_of(quality, called_first=bool(side))

    def _told(self, call: OpenCall, now: float) -> None:
        self._left[call.call] -= 1
        if not self._left[call.call]:
            ended = self._stack.wall(now)
            self._stack.questions.journal(
                CallEnded(
                    tenant=call.tenant,
                    call=call.call,
                    started=call.started,
                    ended=ended,
                    by="service",
                    reason=_reason(call.why),
                    quality=self._quality.pop(call.call, []),
                )
            )

    def _send_bye(
        self, side: Side, call: OpenCall, then: Callable[[float], None], heard: OnQuality, now: float
    ) -> None:
        def told(response: Response, at: float) -> None:
            if response.status >= 200:
                then(at)  # whatever it says

        stack = self._stack
        headers: list[Header] = [("route", f"Route: {route}") for route in side.routes]
        headers.append(("reason", f"Reason: {_reason(call.why)}"))
        flow = Flow(call.address, DEFAULT_PORT, "tcp", call.address, DEFAULT_PORT)  # from ourselves
        request = make_own("BYE", side.uri, (side.call_id, side.sender, side.receiver), side.cseq, headers)
        try:
            incoming = examine(flow, request, (stack.ids.token(),))
            route = route_of(incoming, stack.fleet, stack.own)
            if route is None:
                raise Fault(481)
            self._forwarder.own(incoming, Responses(told), route.target, now, heard=heard)
        except (Fault, ParseError):
            stack.counters["calls_unreachable"] += 1  # the dialog is older than its tokens
            then(now)


def _reason(why: str) -> str:
    """A Reason value (RFC 3326)."""
    return f'SIP;cause=200;text="Ended by the service{": " if why else ""}{why}"'
