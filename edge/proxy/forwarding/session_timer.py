"""Session timers (RFC 4028), as a proxy takes part in them (§8): only so does a call show that its ends are still there
whose media aren't relayed, or that is on hold.

Theory of operation. An INVITE that says nothing of it is given a session interval. Where the called side takes that up,
its 2xx says who refreshes; where it doesn't, but the caller can, the 2xx has the caller do it. Where neither can,
nothing is expected. Who refreshes sends a re-INVITE or an UPDATE with the interval in it, and the same holds for its
2xx: a caller that isn't reminded stops.

An interval alone isn't believed. Some phones promise to refresh, try it once by a method that the other one hasn't, and
never again: where a refresh is refused, nothing is expected of the call any more.
"""

from __future__ import annotations

from edge.proxy.forwarding.record_route import DialogTarget, call_of, dialog_of
from edge.proxy.stack.events import TellRefreshed
from edge.proxy.stack.stack import Stack
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Message, Request, Response
from edge.sip.numbers import number_of
from lambdas.contract import CallName

INTERVAL = 1800
"""Seconds, unless somebody wants fewer."""
SHORTEST = 90
"""Seconds (§5)."""
_HIGHEST = 2**31 - 1
REFRESHES = frozenset(("INVITE", "UPDATE"))
_STILL_EXPECTED = frozenset((401, 407, 408, 422, 481, 491, 500, 503))
"""Of a refresh that is tried again, or whose other end is gone."""


def check_interval(incoming: Incoming) -> None:
    """Raises Fault 422 for an interval that is too short, if its sender can choose another one (§8.1)."""
    if "session-expires" in incoming.first and incoming.request.method in REFRESHES:
        wanted = _seconds(incoming.value("session-expires"))
        if 0 < wanted < SHORTEST and _can_refresh(incoming.request):
            raise Fault(422, headers=(("min-se", f"Min-SE: {SHORTEST}"),))


def ask(request: Request, incoming: Incoming) -> None:
    """Put the interval into ``request``, as which ``incoming`` goes on (§8.1)."""
    said, wanted = incoming.value("session-expires"), _interval(incoming)
    if not wanted or wanted == _seconds(said):
        return
    _, semicolon, params = (said or "").partition(";")
    request.headers = [header for header in request.headers if header[0] != "session-expires"]
    request.headers[1:1] = [("session-expires", f"Session-Expires: {wanted}{semicolon}{params}")]


def complete(answer: Response, incoming: Incoming) -> None:
    """Have the caller refresh, if the 2xx ``answer`` to ``incoming`` says nothing of it, and he can (§8.2)."""
    wanted = _interval(incoming)
    if not wanted or interval_of(answer) or not _can_refresh(incoming.request):
        return
    required = answer.get("require")
    answer.headers = [header for header in answer.headers if header[0] != "require"]
    answer.headers[1:1] = [
        ("session-expires", f"Session-Expires: {wanted};refresher=uac"),
        ("require", f"Require: {required}, timer" if required else "Require: timer"),
    ]


def interval_of(answer: Response) -> int:
    """For how many seconds a call is good that ``answer`` has begun or refreshed; 0: nobody says."""
    return _seconds(answer.get("session-expires"))


def note_refresh(stack: Stack, incoming: Incoming, target: DialogTarget, answer: Response, now: float) -> None:
    """A request in a dialog that leads to ``target`` was answered."""
    call = call_of(target)
    if incoming.request.method not in REFRESHES or not (call.tenant and stack.fleet.tells_refreshes):
        return
    if answer.status >= 300 and ("session-expires" not in incoming.first or answer.status in _STILL_EXPECTED):
        return
    seconds = interval_of(answer) if answer.status < 300 else 0
    caller_at = target.flow.address if call.to_caller else incoming.flow.address
    name = dialog_of(incoming, target, stack.fleet)[1]
    note(stack, caller_at, CallName(tenant=call.tenant, call=name, started=call.started), seconds, now)


def note(stack: Stack, caller_at: str, call: CallName, seconds: int, now: float) -> None:
    """The call is good for ``seconds`` more, or (0) isn't watched any longer, as the edge that has the caller's address
    is to know."""
    if caller_at in stack.fleet.epochs:
        stack.session_timers.note(call, seconds, now)
    else:
        stack.actions.append(TellRefreshed(caller_at, call.tenant, call.call, call.started, seconds))


def _interval(incoming: Incoming) -> int:
    """What the 2xx to a request is to say at most; 0: nobody has asked for any."""
    said = incoming.value("session-expires")
    if incoming.request.method not in REFRESHES or (said is None and incoming.to_tag):
        return 0
    least = max(SHORTEST, _seconds(incoming.value("min-se")))
    return max(least, min(_seconds(said) or INTERVAL, INTERVAL))


def _seconds(value: str | None) -> int:
    """0 for what is no number."""
    return number_of(value.partition(";")[0].strip(), _HIGHEST) or 0 if value is not None else 0


def _can_refresh(message: Message) -> bool:
    return any(tag.strip().lower() == "timer" for value in message.values("supported") for tag in value.split(","))
