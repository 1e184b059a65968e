"""A request that no dialog routes: who calls whom is for the control plane to decide. While it is out of reach, known
accounts call each other all the same (static stability), on whatever edge they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from edge.proxy.forwarding.diversion import diversions
from edge.proxy.forwarding.messages import drop_private
from edge.proxy.forwarding.response_context import ResponseContext
from edge.proxy.routing.kept_routes import all_targets, aors, with_phones
from edge.proxy.stack.validation import Fault, Incoming, check_text
from edge.sip.transaction import ServerTransaction
from lambdas.contract import Credentials, Decision, IncomingQuestion, Reject, Route, RouteQuestion, Target, stand_in

if TYPE_CHECKING:
    from edge.proxy.core import Core

_MOST_OUTCOMES = 500  # of stages in one call; no plan has so many, but one that is asked again for ever


class Router:
    """Asks, and answers by itself where no answer comes."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def route(self, incoming: Incoming, server: ServerTransaction, now: float) -> None:
        """Raises Fault."""
        core = self._core
        fleet = core.fleet_now
        caller = incoming.from_uri()
        realm = fleet.canonical(caller.host)
        if incoming.uri.host in fleet.addresses:
            spiral = core.spirals.take(incoming)
            if spiral is not None:
                target, outcome = spiral
                context = core.context(incoming, server, "", now)
                context.after(outcome)
                context.on_decision(Route(targets=[target]), now)
                return
            provider = core.agent.account_of(incoming.uri.user, incoming.flow)
            if provider:
                self._from_provider(provider, incoming, server, now)
                return
            if realm is None:
                self._unknown(incoming, server, now)
                return
        if realm is None:
            # Answered here, so that strangers can't spend money on decisions.
            raise Fault(403, "Forbidden: only accounts of this service may call")
        if not incoming.uri.user:
            raise Fault(404)
        check_text(incoming.request, caller, incoming.uri)
        credentials = core.authenticator.credentials(incoming, realm, fleet, now)
        if incoming.request.method == "INVITE" and not core.recording:
            core.counters["unrecordable"] += 1
            core.unavailable(server, incoming, now)
            return
        drop_private(incoming.request, fleet)
        host = fleet.canonical(incoming.uri.host) or incoming.uri.host
        context = core.context(incoming, server, caller.at(realm), now)
        context.called = incoming.uri.at(host)
        make = partial(
            RouteQuestion,
            method=incoming.request.method,
            caller=context.caller,
            called=context.called,
            credentials=credentials,
            call_id=incoming.call_id,
            flow=incoming.flow,
            diversions=_diversions(incoming),
            attempt=context.attempt,
        )

        def undecided(at: float) -> None:
            self._undecided(credentials, context, at)

        self._ask(make, context, "", context.called, undecided, now)

    def _ask(
        self,
        make: Callable[..., RouteQuestion | IncomingQuestion],
        context: ResponseContext,
        owner: str,
        called: str,
        undecided: Callable[[float], None],
        now: float,
    ) -> None:
        """Put the question that ``make`` gives, and put it again when the decision says so. The decision is kept as
        ``owner``'s (the tenant's if empty) for calls to ``called``; ``undecided`` sees to a call without one."""
        core = self._core

        def put(again: str, outcomes: list[int], at: float) -> None:
            def decided(decision: Decision | None, then: float) -> None:
                if isinstance(decision, Route):
                    core.kept.keep(owner or decision.tenant, called, decision, core.wall(then))
                if decision is None and not again:
                    undecided(then)
                else:
                    context.on_decision(decision, then)

            if len(outcomes) > _MOST_OUTCOMES:
                core.counters["endless_plans"] += 1
                context.on_decision(Reject(status=500, reason="Server Internal Error: the dial plan has no end"), at)
                return
            core.ask(
                lambda ask, address, epoch: make(
                    request=ask, address=address, epoch=epoch, again=again, outcomes=outcomes
                ),
                context.incoming.flow,
                decided,
                at,
            )

        context.ask_again = put
        put("", [], now)

    def _unknown(self, incoming: Incoming, server: ServerTransaction, now: float) -> None:
        """Perhaps it is a provider's, and its account isn't here yet: the address has only just come."""
        core = self._core
        user = incoming.uri.user

        def go_on(at: float) -> None:
            if server.answered:
                return  # cancelled meanwhile
            provider = core.agent.account_of(user, incoming.flow)
            try:
                if provider:
                    self._from_provider(provider, incoming, server, at)
                elif core.agent.complete(incoming.flow.address):
                    raise Fault(404)
                else:
                    core.unavailable(server, incoming, at)
            except Fault as fault:
                core.refuse(server, incoming.request, fault, at)

        known = core.agent.when_known(user, incoming.flow, go_on, now)
        if known:
            raise Fault(404)
        if known is None:
            core.unavailable(server, incoming, now)
        else:
            core.context(incoming, server, "", now)  # a CANCEL finds it

    def _from_provider(self, provider: str, incoming: Incoming, server: ServerTransaction, now: float) -> None:
        """What a provider sends to an account's Contact."""
        core = self._core
        method = incoming.request.method
        if method == "OPTIONS":
            core.respond(server, incoming.request, 200, now)
            return
        if method not in ("INVITE", "NOTIFY", "MESSAGE"):
            raise Fault(405)
        if method == "INVITE" and not core.recording:
            core.counters["unrecordable"] += 1
            core.unavailable(server, incoming, now)
            return
        caller = incoming.from_uri()
        check_text(incoming.request, caller, incoming.to_uri())
        context = core.context(incoming, server, caller.address_of_record, now)
        context.called = incoming.to_uri().address_of_record
        context.came_from(provider)
        dialled = incoming.to_uri().user
        make = partial(
            IncomingQuestion,
            method=method,
            provider=provider,
            caller=context.caller,
            dialled=dialled,
            call_id=incoming.call_id,
            flow=incoming.flow,
            diversions=_diversions(incoming),
            attempt=context.attempt,
        )

        def undecided(at: float) -> None:
            kept = core.kept.find(provider, dialled, context.caller, core.wall(at)) if context.invite else None
            if kept is not None and core.informed_lately(at):
                self._as_kept(kept, context, at)
            else:
                context.on_decision(None, at)

        self._ask(make, context, provider, dialled, undecided, now)

    def _undecided(self, credentials: Credentials, context: ResponseContext, now: float) -> None:
        core = self._core
        method, caller, called = context.incoming.request.method, context.caller, context.called
        grant = core.registrar.grants.get(caller, credentials, method, now)
        if grant is None or not core.informed_lately(now):
            context.on_decision(None, now)
            return
        kept = core.kept.find(grant.tenant, called, caller, core.wall(now)) if context.invite else None
        if kept is None:
            kept = Route(targets=[stand_in(called)], tenant=grant.tenant)
        self._as_kept(kept, context, now)

    def _as_kept(self, route: Route, context: ResponseContext, now: float) -> None:
        """Do as was decided before, with the phones that there are now."""
        core = self._core
        core.counters["undecided_calls"] += 1
        wanted = aors(route)
        phones: dict[str, list[Target]] = {}

        def go_on(at: float) -> None:
            if len(phones) == len(wanted):
                ready = with_phones(route, phones)
                usable = any(all_targets(ready)) or any(stage.end is not None for stage in (ready, *ready.stages))
                context.on_decision(ready if usable else None, at)  # who isn't registered can't be known

        def ask(aor: str) -> None:
            here = self.find(aor, route.tenant)

            def found(elsewhere: list[Target], at: float) -> None:
                phones[aor] = list({target.binding: target for target in [*elsewhere, *here]}.values())
                go_on(at)

            core.find(aor, route.tenant, found)

        for aor in wanted:
            ask(aor)
        if not wanted:
            go_on(now)

    def find(self, aor: str, tenant: str) -> list[Target]:
        """Where ``aor`` of ``tenant`` is registered at this edge."""
        return [
            Target(uri=held.contact, flow=held.flow, binding=binding, q=held.extras[0], aor=aor)
            for binding, held in self._core.bindings.of(aor)
            if held.tenant == tenant
        ]


def _diversions(incoming: Incoming) -> int:
    return diversions(incoming.request) if "diversion" in incoming.first else 0
