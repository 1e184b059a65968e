"""The door of this room: requests that are to be forwarded get their response context here (RFC 3261 §16.6)."""

from __future__ import annotations

from edge.providers.agent import Agent
from edge.providers.leg_token import LegToProvider
from edge.proxy.forwarding.ack import Ack
from edge.proxy.forwarding.call_record import Parties
from edge.proxy.forwarding.dialog_guard import DialogGuard
from edge.proxy.forwarding.messages import PRIVATE, drop_private
from edge.proxy.forwarding.provider_branch import BranchMaker
from edge.proxy.forwarding.record_route import DialogRoute, DialogTarget
from edge.proxy.forwarding.response_context import Decider, ResponseContext
from edge.proxy.forwarding.spirals import Spirals
from edge.proxy.stack.answers import Upstream
from edge.proxy.stack.flow_token import CallReference, Destination
from edge.proxy.stack.stack import Stack
from edge.proxy.stack.validation import check_hops
from edge.sip.incoming import Fault, Incoming
from lambdas.contract import Proceed


class Forwarder:
    """Makes response contexts."""

    def __init__(self, stack: Stack, agent: Agent, spirals: Spirals, guard: DialogGuard) -> None:
        self._stack = stack
        self._branches = BranchMaker(stack, agent, spirals)
        self._agent = agent
        self._guard = guard

    def call(
        self,
        incoming: Incoming,
        parties: Parties,
        decider: Decider | None,
        now: float,
        outcome: int = 0,
        known: bool = True,
        origin: CallReference = CallReference(),  # noqa: B008 - immutable
    ) -> ResponseContext:
        """The context of a request outside a dialog, which waits for a decision. ``outcome``: what it leads to has
        failed elsewhere already, with that status, and ``origin`` is the call that it comes from. ``known``: its sender
        has shown who he is; otherwise it gets one packet until the decision says so."""
        server = self._stack.serve(incoming, now)
        server.once = not known
        context = ResponseContext(
            self._stack, self._branches, incoming, server, parties, decider=decider, outcome=outcome, origin=origin
        )
        self._stack.transactions.attend(server, context)
        if known:
            context.trying(now)
        return context

    def in_dialog(self, incoming: Incoming, route: DialogRoute | None, now: float) -> None:
        """Send a request on in its dialog, once its sender is known to be of it. Raises Fault, and Slowed."""
        check_hops(incoming)
        if route is None:
            raise Fault(481)
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
        context = ResponseContext(self._stack, self._branches, incoming, server, destination=destination)
        self._stack.transactions.attend(server, context)
        if doubt is None:
            context.on_decision(Proceed(), now)
            return
        server.once = doubt.presented is not None and doubt.presented.grant is None
        self._guard.ask(doubt, incoming, route, context.on_decision, now)

    def own(
        self, incoming: Incoming, upstream: Upstream, destination: DialogTarget, now: float, reports: bool = False
    ) -> None:
        """Send a request of ours on in a dialog of others; ``upstream`` gets its responses, and unless ``reports`` sees
        to the report of what came of it."""
        context = ResponseContext(
            self._stack, self._branches, incoming, upstream, destination=destination, reports=reports
        )
        context.forward_in_dialog(now)

    def own_call(
        self, incoming: Incoming, upstream: Upstream, parties: Parties, decider: Decider, way: LegToProvider
    ) -> ResponseContext:
        """The context of an INVITE of ours, which waits for a decision. Whoever takes the call finds by ``way`` the
        provider in whose name we call."""
        return ResponseContext(
            self._stack, self._branches, incoming, upstream, parties, decider=decider, from_provider=way
        )

    def ack(self, incoming: Incoming, destination: DialogTarget, now: float) -> None:
        """Send the ACK of a 2xx on: no transaction, no answer (§16.6 end, §17). Raises Fault."""
        drop_private(incoming.request, self._stack.fleet)
        Ack(self._stack, self._agent, incoming, destination).send(now)
