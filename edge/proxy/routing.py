"""A request that no dialog routes: who calls whom is for the control plane to decide. While it is out of reach, known
accounts call each other all the same (static stability), on whatever edge they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.proxy.forwarding import drop_private
from edge.proxy.response_context import ResponseContext
from edge.proxy.validation import Fault, Incoming, check_text
from edge.sip.transaction import ServerTransaction
from lambdas.contract import Decision, IncomingQuestion, Route, RouteQuestion, Target

if TYPE_CHECKING:
    from edge.proxy.core import Core


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
        token = core.new_token()
        question = RouteQuestion(
            request=token,
            address=incoming.flow.address,
            epoch=fleet.epoch(incoming.flow.address),
            method=incoming.request.method,
            caller=caller.at(realm),
            called=incoming.uri.at(host),
            credentials=credentials,
            call_id=incoming.call_id,
            flow=incoming.flow,
        )
        context = core.context(incoming, server, question.caller, now)
        context.called = question.called

        def decided(decision: Decision | None, at: float) -> None:
            if decision is None:
                self._undecided(question, context, at)
            else:
                context.on_decision(decision, at)

        core.put_question(token, question, decided, now)

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
        context = core.context(incoming, server, caller.address_of_record, now)
        context.called = incoming.to_uri().address_of_record
        context.came_from(provider)
        core.ask(
            lambda ask, address, epoch: IncomingQuestion(
                request=ask,
                address=address,
                epoch=epoch,
                method=method,
                provider=provider,
                caller=context.caller,
                dialled=incoming.to_uri().user,
                call_id=incoming.call_id,
                flow=incoming.flow,
            ),
            incoming.flow,
            context.on_decision,
            now,
        )

    def _undecided(self, question: RouteQuestion, context: ResponseContext, now: float) -> None:
        core = self._core
        grant = core.registrar.grants.get(question.caller, question.credentials, question.method, now)
        if grant is None or not core.informed_lately(now):
            context.on_decision(None, now)
            return
        core.counters["undecided_calls"] += 1
        here = self.find(question.called, grant.tenant)

        def found(elsewhere: list[Target], at: float) -> None:
            targets = {target.binding: target for target in [*elsewhere, *here]}
            if targets:
                context.on_decision(Route(targets=list(targets.values()), tenant=grant.tenant), at)
            else:
                context.on_decision(None, at)  # that it isn't registered can't be known

        core.find(question.called, grant.tenant, found)

    def find(self, aor: str, tenant: str) -> list[Target]:
        """Where ``aor`` of ``tenant`` is registered at this edge."""
        return [
            Target(uri=held.contact, flow=held.flow, binding=binding, q=held.extras[0])
            for binding, held in self._core.bindings.of(aor)
            if held.tenant == tenant
        ]
