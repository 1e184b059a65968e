"""Whether a phone is still where it once registered.

Theory of operation. A phone that comes back with another Contact - from another port, connection or address - seldom
takes the old one back. That it is the same phone can be guessed (the same instance, or Call-ID), but phones may have
several Contacts on purpose, and all of them ring. So the control plane says which bindings have become doubtful, and
the edge that has such a binding's flow tries it: one OPTIONS, as a transaction. Whoever answers, whatever he says, is
there. Where nobody does in 64*T1, or the flow is dead, the binding is gone, and that is reported.
"""

from __future__ import annotations

from edge.proxy.location.bindings import HeldBinding
from edge.proxy.location.pinger import make_options
from edge.proxy.registrar.binding_report import report
from edge.proxy.stack.stack import Stack
from edge.sip.message import Response
from edge.sip.transaction import ClientTransaction, NonInviteClient

_NOT_THERE = (404, 408, 410, 430, 480, 503, 504)  # what a proxy says of a phone that it can't reach
_HOPS, _HOPS_TO_PROXY = 1, 10


class Trials:
    """Begins them, one for a binding at a time."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._under_way: set[str] = set()

    def doubt(self, binding: str, since: float, now: float) -> None:
        """``binding`` has become doubtful at ``since`` (Unix time): try it, unless its phone was heard later, or may
        sleep: then it wouldn't answer."""
        stack = self._stack
        held = stack.bindings.get(binding)
        if held is None or held.push is not None or binding in self._under_way:
            return
        if held.heard and stack.wall(held.heard_at) > since:
            return
        self._under_way.add(binding)
        stack.counters["doubted_bindings"] += 1
        branch = stack.transactions.branch()
        hops = _HOPS_TO_PROXY if held.path else _HOPS
        request = make_options(held.flow, stack.fleet.places, held.contact, branch, stack.ids.token(), hops, held.path)
        trial = _Trial(self, binding, held, now)
        stack.transactions.begin(NonInviteClient(stack, trial, request, branch, held.flow), now)

    def over(self, binding: str, tried: HeldBinding, there: bool, began: float, now: float) -> None:
        """Whether somebody is there. If nobody is, the phone may have been heard meanwhile all the same."""
        stack = self._stack
        self._under_way.discard(binding)
        if there:
            tried.heard_at = now
        elif stack.bindings.get(binding) is tried and tried.heard_at < began:
            stack.bindings.remove(binding)
            stack.counters["phones_away"] += 1
            if tried.durable_until > now and tried.tenant:
                stack.questions.journal(report(tried, stack.wall(now), 0))


class _Trial:
    """Of one binding, for its transaction."""

    def __init__(self, trials: Trials, binding: str, held: HeldBinding, began: float) -> None:
        self._trials = trials
        self._binding = binding
        self._held = held
        self._began = began

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status >= 200:
            self._over(not (self._held.path and response.status in _NOT_THERE), now)

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None:
        self._over(False, now)

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None:
        self._over(False, now)

    def on_end(self, transaction: ClientTransaction) -> None: ...

    def _over(self, there: bool, now: float) -> None:
        self._trials.over(self._binding, self._held, there, self._began, now)
