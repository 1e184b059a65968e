"""One target of a response context, and the client transaction that tries it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.providers.leg import make_in_dialog
from edge.proxy.forwarding.diversion import divert
from edge.proxy.forwarding.early_media import unreliable
from edge.proxy.forwarding.messages import backward_response, forward_request
from edge.proxy.forwarding.record_route import record_route
from edge.sip.flow import Flow
from edge.sip.message import Header, Request, Response, header_of, make_response
from edge.sip.transaction import ClientTransaction, InviteClient, NonInviteClient
from edge.sip.transaction.client import make_cancel
from lambdas.contract import Target

if TYPE_CHECKING:
    from edge.proxy.forwarding.response_context import ResponseContext

_DIALOG_METHODS = frozenset(("INVITE", "SUBSCRIBE", "REFER", "NOTIFY"))


class Branch:
    """``name`` is its timer's in the context; ``response`` its final one; ``ringing`` tells that a provisional one
    came; ``stage`` is the one that it belongs to; ``wanted`` is whom it is for, though the way there may be another."""

    def __init__(self, context: ResponseContext, target: Target, name: str) -> None:
        self.context = context
        self.core = context.core
        self.target = self.wanted = target
        self.name = name
        self.transaction: ClientTransaction | None = None
        self.response: Response | None = None
        self.ringing = False
        self.cancelled = False
        self.stage = context.stage
        self._diverted_after = context.outcome
        self._ended: set[ClientTransaction] = set()
        self._made = False

    @property
    def flow(self) -> Flow:
        """Where it was sent."""
        return self.transaction.flow if self.transaction is not None else Flow(*self.target.flow)

    @property
    def provider(self) -> str:
        """The provider account that a call goes through, or ""."""
        leg = self.wanted.provider
        return leg.id if leg is not None else ""

    @property
    def status(self) -> int:
        """Of its final response; 0 before that."""
        return self.response.status if self.response is not None else 0

    def begin(self, now: float) -> None:
        flow = self._present_flow()
        self._send(*self._request(flow), flow, now)

    def _present_flow(self) -> Flow:
        """Where the phone is by now. What happens to it here is known here first; that it has moved to another address
        the decision says first, but not a token, which is as old as its dialog."""
        target = self.target
        flow = Flow(*target.flow)
        present = self.core.bindings.present_flow(target.binding) if target.binding else None
        if present is None or (present.address != flow.address and not self.context.incoming.to_tag):
            return flow
        return present

    def _request(self, flow: Flow) -> tuple[Request, str]:
        """The request for ``flow``, and its branch."""
        context = self.context
        incoming = context.incoming
        routes: list[Header] = []
        if not incoming.to_tag and incoming.request.method in _DIALOG_METHODS:
            tokens = self.core.fleet_now.tokens
            caller = self.core.bindings.on_flow(incoming.flow, context.caller)
            there, back = context.references()
            routes += [
                record_route(flow, tokens.seal(flow, self.target.binding, incoming.call_id, there)),
                record_route(incoming.flow, tokens.seal(incoming.flow, caller, incoming.call_id, back)),
            ]
        branch = self.core.new_branch(incoming)
        return (
            forward_request(incoming.request, self.target.uri, flow, branch, incoming.max_forwards, routes),
            branch,
        )

    def _send(self, request: Request, branch: str, flow: Flow, now: float) -> None:
        target = self.target
        if target.diverted:
            divert(request, target.diverted, self._diverted_after)
        if target.headers:
            request.headers[1:1] = [header_of(line) for line in target.headers]
        if self.stage.early_media == "ringing":
            unreliable(request)
        kind = InviteClient if request.method == "INVITE" else NonInviteClient
        self.transaction = kind(self.core, self, request, branch, flow)
        self.core.begin(self.transaction, now)

    # What comes back

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        if response.status < 200:
            self.ringing = True
            self.context.provisional(self, response, now)
        else:
            if self.response is not None and response.status >= 300:
                return  # its time was over before
            self.response = response
            self._made = False
            self.context.final(self, response, now)

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None:
        self.fail(408, now)

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None:
        self.context.lost(self, now)

    def fail(self, status: int, now: float, reason: str = "") -> None:
        """It ends without a response of its own; one is made for it."""
        if self.response is None:
            incoming = self.context.incoming
            self._made = True
            self.response = make_response(incoming.request, status, reason, to_tag=self.context.to_tag)
            self.context.failed(self, now)

    def answer(self, response: Response) -> Response:
        """``response`` as the request's sender gets it."""
        return response if self._made else backward_response(response)

    # Ending it

    def cancel(self, now: float) -> bool:
        """§9.1: not before its first provisional response. Whether a CANCEL was sent."""
        if not self.ringing or self.transaction is None:
            return False
        self.cancelled = True
        self.cancel_transaction(self.transaction, now)
        return True

    def cancel_transaction(self, transaction: ClientTransaction, now: float) -> None:
        request = make_cancel(transaction.request, self.context.why)
        self.core.begin(NonInviteClient(self.core, Nobody(), request, transaction.branch, transaction.flow), now)

    def hang_up(self, response: Response, now: float) -> None:
        """It has answered ``response``, and nobody is there any more: acknowledge and end the call (§13.2.2.4)."""
        if self.transaction is not None:
            self._hang_up(self.transaction, response, now, [])

    def _hang_up(self, transaction: ClientTransaction, response: Response, now: float, routes: list[Header]) -> None:
        for method in ("ACK", "BYE"):
            branch = self.core.new_branch(self.context.incoming)
            request = make_in_dialog(transaction.request, response, method, branch)
            request.headers += [*routes, *self._credentials(method, request.uri)]
            if method == "ACK":
                self.core.transmit(transaction.flow, request.to_bytes(), "")
            elif transaction not in self._ended:
                self._ended.add(transaction)
                self.core.begin(NonInviteClient(self.core, Nobody(), request, branch, transaction.flow), now)

    def _credentials(self, method: str, uri: str) -> list[Header]:
        return []

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        if self.transaction is not None:
            self.transaction.abandon()


class Nobody:
    """Takes a CANCEL's responses: nothing follows from them."""

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None: ...

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None: ...

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None: ...
