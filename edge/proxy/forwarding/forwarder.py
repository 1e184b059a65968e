"""The door of this room: requests that are to be forwarded get their response context here (RFC 3261 §16.6)."""

from __future__ import annotations

from edge.media.orders import DROP, MediaOrder
from edge.providers.agent import Agent
from edge.providers.leg_token import BadLegToken, LegToProvider, RelayedMedia
from edge.proxy.forwarding.ack import Ack
from edge.proxy.forwarding.call_record import Parties
from edge.proxy.forwarding.dialog_guard import DialogGuard
from edge.proxy.forwarding.late_answers import LateAnswers
from edge.proxy.forwarding.media_gate import DESCRIBING, MediaGate, OnQuality, nothing_heard
from edge.proxy.forwarding.media_session import SessionNames, in_dialog, of_route
from edge.proxy.forwarding.messages import PRIVATE, drop_private
from edge.proxy.forwarding.provider_branch import BranchMaker
from edge.proxy.forwarding.record_route import DialogRoute, DialogTarget
from edge.proxy.forwarding.response_context import Decider, ResponseContext
from edge.proxy.forwarding.session_timer import check_interval
from edge.proxy.forwarding.spirals import Around, Spirals
from edge.proxy.stack.answers import Upstream
from edge.proxy.stack.flow_token import Destination
from edge.proxy.stack.stack import Stack
from edge.proxy.stack.validation import check_hops
from edge.sip.incoming import Fault, Incoming
from lambdas.contract import Proceed

_OF_MEDIA = DESCRIBING | {"BYE"}


class Forwarder:
    """Makes response contexts."""

    def __init__(self, stack: Stack, agent: Agent, spirals: Spirals, guard: DialogGuard) -> None:
        self._stack = stack
        self._branches = BranchMaker(stack, agent, spirals)
        self._agent = agent
        self._guard = guard
        self._names = SessionNames()
        self._late_answers = LateAnswers(stack)

    def call(
        self,
        incoming: Incoming,
        parties: Parties,
        decider: Decider | None,
        now: float,
        known: bool = True,
    ) -> ResponseContext:
        """The context of a request outside a dialog, which waits for a decision. ``known``: its sender has shown who he
        is; otherwise it gets one packet until the decision says so. Raises Fault."""
        check_interval(incoming)
        server = self._stack.serve(incoming, now)
        server.once = not known
        media = MediaGate(self._stack, incoming, self._names) if self._may_relay(incoming) else None
        context = ResponseContext(self._stack, self._branches, incoming, server, parties, decider=decider, media=media)
        self._stack.transactions.attend(server, context)
        if known:
            context.trying(now)
        return context

    def around(self, incoming: Incoming, spiral: Around, now: float) -> ResponseContext:
        """The context of a call that has come back to go on to a provider; its media are relayed at the other border,
        if they are."""
        session = spiral.session()
        server = self._stack.serve(incoming, now)
        context = ResponseContext(
            self._stack,
            self._branches,
            incoming,
            server,
            outcome=spiral.outcome,
            origin=spiral.call,
            media=MediaGate(self._stack, incoming, self._names, session, describes=False)
            if session is not None
            else None,
        )
        self._stack.transactions.attend(server, context)
        context.trying(now)
        return context

    def _may_relay(self, incoming: Incoming) -> bool:
        """Whether media of the call that a request begins may have to be relayed."""
        return self._stack.fleet.relays and incoming.request.method == "INVITE" and not incoming.flow.internal

    def in_dialog(self, incoming: Incoming, route: DialogRoute | None, now: float) -> None:
        """Send a request on in its dialog, once its sender is known to be of it. Raises Fault, and Slowed."""
        check_hops(incoming)
        if route is None:
            raise Fault(481)
        check_interval(incoming)
        destination = route.target
        doubt = self._guard.doubt(incoming, route, now)
        if not PRIVATE.isdisjoint(incoming.first):
            drop_private(incoming.request, self._stack.fleet)
        if (
            incoming.request.method == "REFER"
            and not isinstance(destination, Destination)
            and not destination.transfers
        ):
            raise Fault(403, "Forbidden: calls through this provider can't be transferred")
        server = self._stack.serve(incoming, now)
        media = self._gate(incoming, route) if incoming.request.method in _OF_MEDIA else None
        context = ResponseContext(self._stack, self._branches, incoming, server, destination=destination, media=media)
        self._stack.transactions.attend(server, context)
        if doubt is None:
            context.on_decision(Proceed(), now)
            return
        server.once = doubt.presented is not None and doubt.presented.grant is None
        self._guard.ask(doubt, incoming, route, context.on_decision, now)

    def _gate(self, incoming: Incoming, route: DialogRoute) -> MediaGate | None:
        """In a dialog, unless another border of its call has one. Raises Fault."""
        session = of_route(incoming, route) if not incoming.flow.internal else None
        if session is None:
            return None
        try:
            return MediaGate(self._stack, incoming, self._names, session, route.target)
        except BadLegToken as error:
            raise Fault(481) from error

    def own(
        self,
        incoming: Incoming,
        upstream: Upstream,
        destination: DialogTarget,
        now: float,
        reports: bool = False,
        heard: OnQuality = nothing_heard,
    ) -> None:
        """Send a request of ours on in a dialog of others; ``upstream`` gets its responses, and unless ``reports`` sees
        to the report of what came of it: ``heard`` gets what that says of media."""
        session = in_dialog(incoming, destination, incoming.flow.address)
        method = incoming.request.method
        gated = session is not None and (method == "BYE" or (method == "INVITE" and incoming.request.body))
        context = ResponseContext(
            self._stack,
            self._branches,
            incoming,
            upstream,
            destination=destination,
            reports=reports,
            media=MediaGate(self._stack, incoming, self._names, session, destination, begins=True) if gated else None,
            heard=heard,
        )
        context.forward_in_dialog(now)

    def own_call(
        self, incoming: Incoming, upstream: Upstream, parties: Parties, decider: Decider, way: LegToProvider
    ) -> ResponseContext:
        """The context of an INVITE of ours, which waits for a decision. Whoever takes the call finds by ``way`` the
        provider in whose name we call."""
        return ResponseContext(
            self._stack,
            self._branches,
            incoming,
            upstream,
            parties,
            decider=decider,
            from_provider=way,
            media=MediaGate(self._stack, incoming, self._names, describes=False) if self._stack.fleet.relays else None,
        )

    def forget_media(self, session: RelayedMedia | None) -> None:
        """A call has ended of which nobody else will say so."""
        if session is not None:
            self._stack.questions.order_media(session.address, MediaOrder(session.key, DROP))

    def ack(self, incoming: Incoming, route: DialogRoute, now: float) -> None:
        """Send the ACK of a 2xx on: no transaction, no answer (§16.6 end, §17). Raises Fault."""
        drop_private(incoming.request, self._stack.fleet)
        ack = Ack(self._stack, self._agent, incoming, route.target)
        session = of_route(incoming, route) if incoming.request.body and not incoming.flow.internal else None
        if session is None:
            ack.send(now)
        elif not self._guard.is_from_its_side(incoming, route):
            self._stack.counters["media_refused"] += 1  # anybody might send others' media elsewhere
            ack.send(now)
        else:
            self._late_answers.describe(incoming, session, route.target, ack.send_described, now)

    def own_ack(self, incoming: Incoming, destination: DialogTarget, now: float) -> None:
        """The same of one of ours, whose description is as its receiver is to have it."""
        Ack(self._stack, self._agent, incoming, destination).send(now)
