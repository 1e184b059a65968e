"""Branches across the border between phones and providers: out through a provider, and in to a phone."""

from __future__ import annotations

from dataclasses import replace

from edge.providers.agent import Agent
from edge.providers.credentials import Authorizer
from edge.providers.leg import (
    ATTEMPTS,
    provider_uri,
    request_in,
    request_out,
    response_in,
    response_out,
    routes_of,
)
from edge.providers.leg_token import LegToPhone, LegToProvider
from edge.proxy.forwarding.branch import Branch, BranchContext
from edge.proxy.forwarding.record_route import DialogTarget
from edge.proxy.forwarding.spirals import Spirals
from edge.proxy.stack.flow_token import TokenKeys
from edge.proxy.stack.stack import Stack
from edge.sip.flow import Flow, ServerAddress
from edge.sip.message import Header, Request, Response, header_of
from edge.sip.timers import T1
from edge.sip.transaction import ClientTransaction
from lambdas.contract import Access, AccessQuestion, Decision, Secret, Target

_PATIENCE = 8 * T1  # for a first word from a server, where there is another one to try
_HOPELESS = 500


class ProviderBranch(Branch):
    """From a phone to a provider: a new call with ``target.provider``, or with ``way`` a request in one."""

    def __init__(
        self, stack: Stack, context: BranchContext, target: Target, agent: Agent, way: LegToProvider | None
    ) -> None:
        super().__init__(stack, context, target)
        self._agent = agent
        self._way = way
        self._servers: list[ServerAddress] = []
        self._attempt = 0
        self._authorizer: Authorizer | None = None
        self._sent: dict[ClientTransaction, int] = {}
        leg = target.provider
        if leg is not None and leg.secret is not None:
            self._authorizer = Authorizer(leg.secret)

    def _try(self, now: float) -> None:
        leg = self.target.provider
        if leg is None:
            self._try_server(now)
            return

        def resolved(addresses: list[ServerAddress], fault: str, at: float) -> None:
            if self.response is not None or self.context.over:
                return
            if self.context.cancelled:
                self.fail(487, at)
                return
            if not addresses:
                self.fail(_HOPELESS, at, f"Server Internal Error: {leg.server.host}: {fault}")
                return
            self._servers = list(addresses)
            self._try_server(at)

        self.stack.questions.resolve(leg.server, resolved)

    def _try_server(self, now: float) -> None:
        leg, way = self.target.provider, self._way
        context = self.context
        self.proceeding = False
        incoming = context.incoming
        if leg is not None:
            transport, ip, port = self._servers[0]
            address, local, *_ = self.target.flow
            flow = Flow(address, local, transport, ip, port, 0)
            there = context.references()[0]
            # Of a call that comes back from a challenge the numbers go on.
            way = self._way = LegToProvider(
                leg.id,
                flow,
                incoming.cseq - 1,
                there.tenant,
                there.started,
                leg.transfers,
                leg.from_value,
                leg.to_uri,
                phone=incoming.flow if self._binds else None,
                binding=self.stack.bindings.first_on(incoming.flow) if self._binds else "",
            )
        assert way is not None
        branch = self.stack.transactions.branch(incoming.mark)
        request = request_out(
            incoming, way, self._phone_side(way), self._uri(), branch, self._attempt, self._added(), self._keys
        )
        self._send(request, branch, way.flow, now)
        assert self.transaction is not None
        self._sent[self.transaction] = self._attempt
        if len(self._servers) > 1 or (leg is not None and (context.has_more or self.target.instead)):
            self.stack.timers.start(self, "patience", now + _PATIENCE)

    def _phone_side(self, way: LegToProvider) -> LegToPhone:
        """Where the provider's requests in this call go."""
        flow = self.context.incoming.flow
        binding = self.stack.bindings.first_on(flow)
        back = replace(way, contact="") if flow.internal else None
        peer = way.flow.host if self._binds else ""
        return LegToPhone(
            way.provider, flow, binding, "", way.tenant, way.started, way.transfers, way.translated, back, peer
        )

    @property
    def _binds(self) -> bool:
        """Whether tokens say who may use them."""
        return self.stack.fleet.reads_tags and not self.context.incoming.flow.internal

    @property
    def _keys(self) -> TokenKeys:
        return self.stack.fleet.tokens

    def _uri(self) -> str:
        if self.target.provider is not None:
            return self.target.uri
        if self._way is not None and self._way.contact:
            return self._way.contact
        incoming = self.context.incoming
        return provider_uri(incoming.uri.user, incoming.call_id, self._keys)

    def _added(self) -> list[Header]:
        leg = self.target.provider
        added: list[Header] = []
        if leg is not None:
            routes = ([leg.server.route] if leg.server.route else []) + leg.routes
            added += [("route", f"Route: {route}") for route in routes]
            added += [header_of(line) for line in leg.headers]
        elif self._way is not None:
            added += [("route", f"Route: {route}") for route in self._way.routes]
        if self._authorizer is not None:
            added += self._authorizer.headers(self.context.incoming.request.method, self._uri(), self.stack.ids.token())
        return added

    # What comes back

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if transaction is not self.transaction or (self._made and response.status < 200):
            # Given up for another server: whatever it does now is too late.
            if response.status < 200 and not self.cancelled:
                self.cancel_transaction(transaction, now)
            elif 200 <= response.status < 300 and transaction.request.method == "INVITE":
                # A server that was given up has answered.
                self._hang_up(transaction, response, now, routes_of(response))
            return
        self.timers.pop("patience", None)
        status = response.status
        if status in (401, 407) and self.response is None and not self.context.cancelled:
            self._challenged(response, now)
        elif status == 503 and len(self._servers) > 1 and not self.context.cancelled:
            self._next(now)
        else:
            super().on_response(transaction, response, now)

    def hang_up(self, response: Response, now: float) -> None:
        if self.transaction is not None:
            self._hang_up(self.transaction, response, now, routes_of(response))

    def _credentials(self, method: str, uri: str) -> list[Header]:
        """Some providers ask for them in a BYE, too."""
        if self._authorizer is None or method == "ACK":
            return []
        return self._authorizer.headers(method, uri, self.stack.ids.token())

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None:
        if transaction is self.transaction:
            self._failed_server(408, now)

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None:
        if transaction is self.transaction:
            self._failed_server(_HOPELESS, now)

    def on_timer(self, name: str, now: float) -> None:
        if name != "patience":
            super().on_timer(name, now)
        elif self.response is None and not self.proceeding and not self.context.cancelled:
            self._failed_server(408, now)  # not a word from this server, and there are others

    def _failed_server(self, status: int, now: float) -> None:
        self.timers.pop("patience", None)
        if len(self._servers) > 1 and not self.context.cancelled:
            self._next(now)
        else:
            self.fail(status, now)

    def _next(self, now: float) -> None:
        if self.transaction is not None:
            self.transaction.timers.pop("timer_a", None)  # not sent again
        del self._servers[0]
        if self._authorizer is not None:
            self._authorizer.forget()
        self._try_server(now)

    def _challenged(self, response: Response, now: float) -> None:
        """The provider's challenge is ours to answer; the phone never hears of it."""
        if self._authorizer is None:
            secret = self._agent.secret(self._provider)
            if secret is not None:
                self._authorizer = Authorizer(secret)
            else:
                self._ask(response, now)
                return
        if self._attempt + 1 < ATTEMPTS and self._authorizer.challenged(response):
            self._attempt += 1
            self._try_server(now)
        else:
            self.fail(_HOPELESS, now, "Server Internal Error: the provider refuses our user name or password")

    @property
    def _provider(self) -> str:
        assert self._way is not None
        return self._way.provider

    def _ask(self, response: Response, now: float) -> None:
        def decided(decision: Decision | None, at: float) -> None:
            if not isinstance(decision, Access):
                self.fail(503, at)
            elif self.response is None:
                self._trust(decision.secret)
                self._challenged(response, at)

        flow = self.context.incoming.flow
        epoch = self.stack.fleet.epoch(flow.address)
        self.stack.questions.ask(
            lambda ask: AccessQuestion(request=ask, address=flow.address, epoch=epoch, provider=self._provider),
            decided,
            now,
        )

    def _trust(self, secret: Secret) -> None:
        self._authorizer = Authorizer(secret)

    def answer(self, response: Response) -> Response:
        if self._made or self._way is None or self.transaction is None:
            return super().answer(response)
        incoming = self.context.incoming
        attempt = self._sent[self.transaction]
        return response_in(response, incoming, self._way, incoming.flow, attempt, self._keys)


class PhoneBranch(Branch):
    """From a provider to a phone: ``way`` leads back to the provider, ``phone`` is set inside a dialog."""

    def __init__(
        self,
        stack: Stack,
        context: BranchContext,
        target: Target,
        way: LegToProvider,
        phone: LegToPhone | None = None,
        wanted: Target | None = None,
    ) -> None:
        super().__init__(stack, context, target, wanted)
        self._way = way
        self._phone = phone

    def _request(self, flow: Flow) -> tuple[Request, str]:
        context, way, target = self.context, self._way, self.target
        if self._phone is not None:
            phone = replace(self._phone, flow=flow)
        else:
            routes = context.incoming.request.split_values("record-route")
            binds = self.stack.fleet.reads_tags and not flow.internal
            phone = LegToPhone(
                way.provider, flow, target.binding, target.uri, way.tenant, way.started, way.transfers, False,
                replace(way, routes=tuple(routes)) if flow.internal else None,
                context.incoming.flow.host if binds else "",
            )  # fmt: skip
            if binds:
                way = replace(way, phone=flow, binding=target.binding)
        self._phone = phone
        branch = self.stack.transactions.branch(context.incoming.mark)
        return request_in(context.incoming, way, phone, target.uri, branch, self.stack.fleet.tokens), branch

    def answer(self, response: Response) -> Response:
        if self._made or self._phone is None:
            return super().answer(response)
        incoming = self.context.incoming
        return response_out(response, incoming, self._phone, incoming.flow, self.stack.fleet.tokens)


class BranchMaker:
    """Makes the branch for a target: across a border or not."""

    def __init__(self, stack: Stack, agent: Agent, spirals: Spirals) -> None:
        self._stack = stack
        self._agent = agent
        self._spirals = spirals

    def make(
        self,
        context: BranchContext,
        target: Target,
        destination: DialogTarget | None,
        from_provider: LegToProvider | None,
    ) -> Branch:
        """``destination`` is where a request in a dialog goes; ``from_provider`` leads back to the provider that a call
        came from."""
        stack, flow = self._stack, context.incoming.flow
        if isinstance(destination, LegToPhone):
            way = LegToProvider(destination.provider, flow, 0, "", 0, destination.transfers)
            return PhoneBranch(stack, context, target, way, destination)
        if from_provider is not None:
            around = target
            if target.provider is not None:
                around = self._spirals.around(target, flow, context.outcome)
            back = context.references()[1]
            way = replace(from_provider, tenant=back.tenant, started=back.started)
            return PhoneBranch(stack, context, around, way, wanted=target)
        if target.provider is not None or isinstance(destination, LegToProvider):
            way_out = destination if isinstance(destination, LegToProvider) else None
            return ProviderBranch(stack, context, target, self._agent, way_out)
        return Branch(stack, context, target)
