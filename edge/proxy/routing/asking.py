"""The question whom to call, put once or, as decisions say, again; and what is done by oneself where no answer comes
(static stability)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from edge.proxy.forwarding.deflection import Deflection
from edge.proxy.forwarding.diversion import diversions
from edge.proxy.forwarding.response_context import ResponseContext
from edge.proxy.routing.callers import CallOrigin
from edge.proxy.routing.kept_routes import KeptRoutes, all_targets, allowed_in_the_dark, aors, with_phones
from edge.proxy.stack.call_counts import ScopeUse, broken
from edge.proxy.stack.phones_here import phones_here
from edge.proxy.stack.questions import OnDecision
from edge.proxy.stack.stack import Stack
from edge.proxy.subscriptions.subscriptions import Subscriptions
from edge.sip.flow import Flow
from lambdas.contract import Decision, Reject, Route, Target

_MOST_OUTCOMES = 500  # of stages in one call; no plan has so many, but one that is asked again for ever
_NOT_THERE = 480
_LOOK = 0.5  # seconds between looks for phones that should be back
_ENDLESS = Reject(status=500, reason="Server Internal Error: the dial plan has no end")


class Asking:
    """Decides for one caller's request; the response context is told. ``timers`` is read by the TimerHeap."""

    def __init__(
        self,
        stack: Stack,
        kept: KeptRoutes,
        caller: CallOrigin,
        subscriptions: Subscriptions | None = None,
        summary: str = "",
    ) -> None:
        """``summary``: what the request says of messages that wait, for those who have subscribed."""
        self.timers: dict[str, int] = {}
        self._later: Callable[[float], None] | None = None
        self._awaited: list[str] = []
        self._until = 0.0
        self._stack = stack
        self._kept = kept
        self._caller = caller
        self._subscriptions = subscriptions
        self._summary = summary

    def ask(self, context: ResponseContext, again: str, outcomes: list[int], now: float) -> None:
        """The Decider's."""
        if len(outcomes) > _MOST_OUTCOMES:
            self._stack.counters["endless_plans"] += 1
            context.on_decision(_ENDLESS, now)
            return
        once_more = partial(self._once_more, context, again, outcomes)

        def decided(decision: Decision | None, at: float) -> None:
            if decision is None and not again:
                self._undecided(context, once_more, at)
            elif self._waits_for_phones(decision, at):
                self._wait(context, once_more, at)
            elif isinstance(decision, Reject) and decision.tenant and self._caller.contact and not again:
                self._call_contact(context, decision, at)
            else:
                self._follow(context, decision, at)

        self._put(context, {"again": again, "outcomes": outcomes}, None, decided, now)

    def _once_more(self, context: ResponseContext, again: str, outcomes: list[int], now: float) -> None:
        if not context.over:
            self.ask(context, again, outcomes, now)

    def redirect(
        self, context: ResponseContext, deflection: Deflection, outcomes: list[int], then: OnDecision, now: float
    ) -> None:
        """The Decider's."""

        def found(phone: Target | None, at: float) -> None:
            to = phone.aor if phone is not None else deflection.to
            said = {"redirected_by": deflection.by, "redirected_to": to}
            self._put(context, {"again": "redirected", "outcomes": outcomes, **said}, None, then, at)

        tenant = context.origin.tenant
        if tenant and deflection.to.startswith("sip:"):
            self._find_phone(deflection.to, tenant, found, now)
        else:
            found(None, now)

    def _put(
        self, context: ResponseContext, fields: dict[str, Any], phone: Target | None, then: OnDecision, now: float
    ) -> None:
        """A question with these ``fields``; ``phone`` is the one whose Contact has been called, if that is known."""
        stack, caller, incoming = self._stack, self._caller, context.incoming

        def decided(decision: Decision | None, at: float) -> None:
            if isinstance(decision, Route):
                stack.call_counts.note(decision.limits, stack.wall(at))
                self._kept.keep(caller.owner(decision.tenant), caller.called, decision, stack.wall(at))
            then(decision, at)

        common = {
            "address": incoming.flow.address,
            "epoch": stack.fleet.epoch(incoming.flow.address),
            "method": incoming.request.method,
            "call_id": incoming.call_id,
            "flow": incoming.flow.wire,
            "diversions": diversions(incoming) + context.redirections,
            "attempt": context.attempt,
            **fields,
        }
        if self._summary:
            common["summary"] = self._summary
        caller.ask(lambda ask: caller.question({"request": ask, **common}, phone), decided, now)

    def _call_contact(self, context: ResponseContext, decision: Reject, now: float) -> None:
        """``decision`` is all that can be said of an address elsewhere. But it may be a phone's own, which others have
        seen in a dialog with it (§8.1.1.8): then that phone is called."""

        def found(phone: Target | None, at: float) -> None:
            if phone is None:
                context.on_decision(decision, at)
            else:
                self._stack.counters["called_contacts"] += 1
                self._put(context, {}, phone, lambda found, then: self._follow(context, found, then), at)

        self._find_phone(self._caller.contact, decision.tenant, found, now)

    def _find_phone(self, contact: str, tenant: str, then: Callable[[Target | None, float], None], now: float) -> None:
        """``then`` gets the phone of ``tenant`` whose Contact it is, wherever that is registered."""
        here = phones_here(self._stack, contact, tenant)

        def found(elsewhere: list[Target], at: float) -> None:
            then(next(iter([*here, *elsewhere]), None), at)

        if here:
            found([], now)
        else:
            self._stack.questions.find(contact, tenant, found)

    def _follow(self, context: ResponseContext, decision: Decision | None, now: float) -> None:
        """Those who have subscribed to what the request brings are told of it; it goes to the others as it came."""
        if self._subscriptions is None or not self._summary or not isinstance(decision, Route):
            context.on_decision(decision, now)
            return
        wanted = len(decision.targets)

        def delivered(left: Route, at: float) -> None:
            if wanted and not left.targets:
                context.done(at)
            else:
                context.on_decision(left, at)

        self._subscriptions.deliver(decision, self._summary, delivered, now)

    def _waits_for_phones(self, decision: Decision | None, now: float) -> bool:
        """Whether nobody is there because phones are just made to come to another edge, perhaps since the question was
        put, or are in browsers that have lost their connections. That is waited for once. One that can be woken is:
        its call waits by itself."""
        closed = self._stack.closed_flows
        if self._later is not None or not self._is_nobody_there(decision):
            return False
        self._awaited = self._missing(decision)
        self._until = max(closed.back_by, closed.back_in_browser(self._awaited))
        return now < self._until

    def _is_nobody_there(self, decision: Decision | None) -> bool:
        closed = self._stack.closed_flows
        if isinstance(decision, Route):
            called = bool(decision.targets or decision.absent)
            return called and all(closed.has(Flow(*one.flow)) and not one.sleeps for one in decision.targets)
        if isinstance(decision, Reject):
            return bool(decision.absent) or decision.status == _NOT_THERE
        return decision is None

    def _missing(self, decision: Decision | None) -> list[str]:
        """The accounts that would be rung; a control plane of before doesn't say whose, where there are none."""
        named: list[str] = []
        if isinstance(decision, Route):
            named = [target.aor for target in (*decision.targets, *decision.absent)]
        elif isinstance(decision, Reject):
            named = decision.absent
        return named or [self._caller.parties.called]

    def _wait(self, context: ResponseContext, then: Callable[[float], None], now: float) -> None:
        context.trying(now)
        self._later = then
        self._stack.timers.start(self, "later", min(self._until, now + _LOOK))

    def on_timer(self, name: str, now: float) -> None:
        """Ask once more if a phone is back at this edge, or all that were lost should be back by now."""
        assert self._later is not None
        if now < self._until and not any(self._stack.bindings.of(aor) for aor in self._awaited):
            self._stack.timers.start(self, "later", min(self._until, now + _LOOK))
        else:
            self._later(now)

    def _undecided(self, context: ResponseContext, once_more: Callable[[float], None], now: float) -> None:
        """Do as was decided before, with the phones that there are now."""
        stack, caller = self._stack, self._caller
        owner = caller.known_owner(now)
        if not owner or not stack.informed_lately(now):
            context.on_decision(None, now)
            return
        kept = None
        if context.invite:
            kept = self._kept.find(owner, caller.called, caller.parties.caller, stack.wall(now))
        route = caller.fitted(kept) if kept is not None else caller.otherwise(owner)
        if route is None:
            context.on_decision(None, now)
            return

        def follow(decision: Decision | None, at: float) -> None:
            if decision is None and self._waits_for_phones(decision, at):
                self._wait(context, once_more, at)
            else:
                self._follow(context, decision, at)

        UndecidedCall(stack, allowed_in_the_dark(route), context, caller.payers(owner), follow).begin(now)


class UndecidedCall:
    """Does what was decided for another call, with the phones that there are now, at this edge and at its peers, if
    limits allow one call more."""

    def __init__(
        self, stack: Stack, route: Route, context: ResponseContext, payers: list[str], follow: OnDecision
    ) -> None:
        """``payers`` are those whose limits hold if the decision doesn't name them; ``follow`` gets what is done."""
        self._stack = stack
        self._route = route
        self._context = context
        self._payers = payers
        self._follow = follow
        self._wanted = aors(route)
        self._phones: dict[str, list[Target]] = {}

    def begin(self, now: float) -> None:
        if not self._wanted:
            self._go_on(now)
        for aor in self._wanted:
            self._find(aor)

    def _find(self, aor: str) -> None:
        tenant = self._route.tenant
        here = phones_here(self._stack, aor, tenant)

        def found(elsewhere: list[Target], at: float) -> None:
            self._phones[aor] = list({target.binding: target for target in [*elsewhere, *here]}.values())
            if len(self._phones) == len(self._wanted):
                self._go_on(at)

        self._stack.questions.find(aor, tenant, found)

    def _go_on(self, now: float) -> None:
        ready = with_phones(self._route, self._phones)
        usable = any(all_targets(ready)) or any(stage.end is not None for stage in (ready, *ready.stages))
        if not usable:
            self._follow(None, now)  # who isn't registered can't be known
            return
        stack = self._stack
        payers = [one.scope for one in ready.limits] or self._payers
        limits = stack.call_counts.limits(payers, ready.limits, stack.wall(now)) if self._context.invite else []
        if not limits:
            self._begin(ready, now)
            return
        scopes = [one.scope for one in limits]

        def counted(uses: list[list[ScopeUse]], at: float) -> None:
            wall = stack.wall(at)
            everybody = [*uses, [stack.call_counts.of(scope, wall) for scope in scopes]]
            for one, use in zip(limits, zip(*everybody, strict=True), strict=True):
                reason = broken(one, use)
                if reason:
                    stack.counters["undecided_refusals"] += 1
                    self._context.on_decision(
                        Reject(status=403, reason=f"Forbidden: {reason}", tenant=ready.tenant), at
                    )
                    return
            stack.call_counts.begin(self._context.attempt, scopes, wall, undecided=True)
            self._begin(ready.model_copy(update={"counted": scopes}), at)

        stack.questions.count(scopes, counted)

    def _begin(self, route: Route, now: float) -> None:
        self._stack.counters["undecided_calls"] += 1
        self._follow(route, now)
