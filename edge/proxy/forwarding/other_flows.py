"""By which other flow a phone is reached whose dialog's own is dead (RFC 5626 §5.3, §7): the one that its binding has
by now, or one that the same instance has registered under another reg-id.

Theory of operation. What this edge has itself is tried first; then the control plane says where there is another one,
and while it can't be asked the peers do: those that have, or had, the binding know whose it is, and the others where
that one is. A flow that was found dead isn't tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edge.proxy.forwarding.target_set import of_same_instance
from edge.proxy.stack.phones_here import phones_here
from edge.proxy.stack.stack import Stack
from edge.sip.flow import Flow
from lambdas.contract import Decision, LocateQuestion, Route, Target

_MOST = 4  # flows that are tried for one request

OnTarget = Callable[[Target | None, float], None]


class OtherFlows:
    """Of the phone of ``binding``, for one request. ``unknown`` tells that nobody could say."""

    def __init__(self, stack: Stack, binding: str, tenant: str, address: str) -> None:
        """``tenant``: whose call it is; ``address`` is how the request came."""
        self._tenant = tenant
        self._stack = stack
        self._binding = binding
        self._address = address
        self._failed: list[Flow] = []
        self.unknown = False

    def find(self, failed: Flow, then: OnTarget, now: float) -> None:
        """``then`` gets a target with a flow that hasn't been tried; None if there is none."""
        self._failed.append(failed)
        here = self._first(phones_here(self._stack, self._binding, ""))
        if len(self._failed) > _MOST:
            then(None, now)
        elif here is not None:
            then(here, now)
        else:
            self._ask(then, now)

    def _first(self, targets: list[Target]) -> Target | None:
        """Of those that may be reached the one of the binding itself, or else the latest."""
        closed = self._stack.closed_flows
        there = [one for one in targets if Flow(*one.flow) not in self._failed and not closed.has(Flow(*one.flow))]
        return max(there, key=lambda one: (one.binding == self._binding, one.registered_at), default=None)

    def _ask(self, then: OnTarget, now: float) -> None:
        def located(decision: Decision | None, at: float) -> None:
            if decision is None:
                self._ask_peers(then)
            else:
                then(self._first(decision.targets) if isinstance(decision, Route) else None, at)

        def question(ask: str) -> LocateQuestion:
            address = self._address
            return LocateQuestion(
                request=ask,
                address=address,
                epoch=self._stack.fleet.epoch(address),
                binding=self._binding,
                failed=[flow.wire for flow in self._failed],
            )

        self._stack.questions.ask(question, located, now)

    def _ask_peers(self, then: OnTarget) -> None:
        stack = self._stack

        def found(targets: list[Target], at: float) -> None:
            known = [*targets, *phones_here(stack, self._binding, "")]
            there = self._first(known)
            lost = next((one for one in known if one.reg_id), None)
            if there is not None or lost is None:
                self.unknown = there is None
                then(there, at)
            else:
                stack.questions.find(lost.aor, self._tenant, partial(self._of_account, lost, then))

        stack.questions.find(self._binding, "", found)

    def _of_account(self, lost: Target, then: OnTarget, targets: list[Target], now: float) -> None:
        known = [*targets, *phones_here(self._stack, lost.aor, self._tenant)]
        there = self._first([one for one in known if of_same_instance(one, lost)])
        self.unknown = there is None
        then(there, now)
