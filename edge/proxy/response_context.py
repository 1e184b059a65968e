"""The response context of RFC 3261 §16: one request, the branches it was forwarded on, and the one best answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.proxy.call_record import CallRecord, ended
from edge.proxy.flow_token import CallReference, Destination
from edge.proxy.forwarding import backward_response, forward_request
from edge.proxy.record_route import record_route
from edge.proxy.validation import Incoming
from edge.sip.flow import Flow
from edge.sip.message import Header, Request, Response, make_response
from edge.sip.timers import TIMER_C
from edge.sip.transaction import (
    ClientTransaction,
    InviteClient,
    NonInviteClient,
    ServerTransaction,
    State,
)
from edge.sip.transaction.client import make_cancel
from lambdas.contract import Challenge, Decision, LocateQuestion, Reject, Route, Target

if TYPE_CHECKING:
    from edge.proxy.core import Core

GIVE_UP = 20.0
"""Seconds after which a non-INVITE request is answered 480. Its sender stops waiting at 32 s, and a 408 may not be
sent then (RFC 4320 §4.2)."""

_CANCEL_WAIT = 32.0  # §9.1: a branch that answers neither the CANCEL nor the INVITE is over after 64*T1
_DIALOG_METHODS = frozenset(("INVITE", "SUBSCRIBE", "REFER", "NOTIFY"))
_CHALLENGES = ("www-authenticate", "proxy-authenticate")
_PREFERRED = (401, 407, 415, 420, 484)  # §16.7 step 6: these tell the caller what to do


class Branch:
    """One target tried. ``response`` is its final one; ``ringing`` tells that a provisional one came."""

    __slots__ = ("cancelled", "response", "ringing", "target", "transaction")

    def __init__(self, target: Target, transaction: ClientTransaction) -> None:
        self.target = target
        self.transaction = transaction
        self.response: Response | None = None
        self.ringing = False
        self.cancelled = False


class ResponseContext:
    """From the request's arrival to its last response. ``timers`` is read by the TimerHeap."""

    def __init__(self, core: Core, incoming: Incoming, server: ServerTransaction, caller: str) -> None:
        """``caller`` is the AOR that the request is from, "" inside a dialog."""
        self._core = core
        self._incoming = incoming
        self._server = server
        self._caller = caller
        self._branches: dict[str, Branch] = {}
        self._cancelled = False
        self._located = False
        self._dialog_binding: str | None = None  # set inside a dialog: the token's binding, perhaps ""
        self._call = CallReference()
        self._record: CallRecord | None = None
        self.called = ""
        self.timers: dict[str, int] = {}

    @property
    def invite(self) -> bool:
        return self._incoming.request.method == "INVITE"

    # Deciding

    def on_decision(self, decision: Decision | None, now: float) -> None:
        if self._server.answered:
            return  # cancelled meanwhile
        match decision:
            case Route(targets=[_, *_]):
                if self.invite and decision.tenant:
                    self._record = CallRecord(
                        self._core, self._incoming, decision.tenant, self._caller, self.called, now
                    )
                self.forward(decision.targets, now)
            case Route():
                self._answer(480, now)
            case Reject():
                self._core.reject(self._server, self._incoming, decision, now)
            case Challenge():
                realm = self._caller.rpartition("@")[2]
                self._core.challenge(self._server, self._incoming, realm, now)
            case None:
                self._core.unavailable(self._server, self._incoming, now)
            case _:
                self._answer(500, now)

    def forward_in_dialog(self, destination: Destination, now: float) -> None:
        """Send the request on by what a flow token says, its Request-URI unchanged."""
        binding = self._dialog_binding = destination.binding
        self._call = destination.call
        target = Target(uri=self._incoming.request.uri, flow=destination.flow, binding=binding)
        self.forward([target], now)

    def forward(self, targets: list[Target], now: float) -> None:
        """§16.6, on all targets at once."""
        if not self.invite:
            self._core.timers.start(self, "give_up", now + GIVE_UP)
        started = [self._branch(target) for target in targets]
        for branch in started:
            branch.transaction.begin(now)
            if self.invite:
                self._core.timers.start(self, branch.transaction.branch, now + TIMER_C)

    def _branch(self, target: Target) -> Branch:
        incoming = self._incoming
        # Where the phone is by now, if it is here, is known here first.
        flow = (self._core.bindings.present_flow(target.binding) if target.binding else None) or Flow(*target.flow)
        request = self._copy(target, flow)
        name = request.headers[0][1].rpartition(";branch=")[2]
        kind = InviteClient if incoming.request.method == "INVITE" else NonInviteClient
        branch = Branch(target, kind(self._core, self, request, name, flow))
        self._core.clients[branch.transaction.key] = branch.transaction
        self._branches[name] = branch
        return branch

    def _copy(self, target: Target, flow: Flow) -> Request:
        incoming = self._incoming
        routes: list[Header] = []
        if self._dialog_binding is None and incoming.request.method in _DIALOG_METHODS:
            tokens = self._core.fleet_now.tokens
            caller = self._core.bindings.on_flow(incoming.flow, self._caller)
            there = back = self._call
            if self._record is not None:
                there, back = self._record.reference(False), self._record.reference(True)
            routes = [
                record_route(flow, tokens.seal(flow, target.binding, incoming.call_id, there)),
                record_route(incoming.flow, tokens.seal(incoming.flow, caller, incoming.call_id, back)),
            ]
        branch = self._core.new_branch(incoming)
        return forward_request(incoming.request, target.uri, flow, branch, incoming.max_forwards, routes)

    # Responses

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        branch = self._branches[transaction.branch]
        status = response.status
        if status < 200:
            branch.ringing = True
            if branch.cancelled or (self._cancelled and self._cancel(branch, now)):
                return
            if status > 100:
                if self.invite:
                    self._core.timers.start(self, transaction.branch, now + TIMER_C)
                if self._record is not None:
                    self._record.rings(now)
                self._server.respond(backward_response(response), now)
            return
        self.timers.pop(transaction.branch, None)
        branch.response = response
        if self._incoming.request.method == "BYE":
            ended(self._core, self._incoming, self._call, status, now)
        if status < 300:
            if self._record is not None:
                self._record.answered(response, transaction.flow, self._forward_2xx, now)
            else:
                self._forward_2xx(response, now)
            self._cancel_all(now)
        else:
            if status >= 600:
                self._cancel_all(now)
            self._maybe_answer(now)

    def _forward_2xx(self, response: Response, now: float) -> None:
        self._server.respond(backward_response(response), now)

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None:
        self._fail(transaction, 408, now)

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None:
        """§16.9. Inside a dialog the binding may have another flow by now: ask once."""
        if self._dialog_binding and not self._located and not self._cancelled:
            self._located = True
            del self._branches[transaction.branch]
            self.timers.pop(transaction.branch, None)
            binding = self._dialog_binding
            self._core.ask(
                lambda ask, address, epoch: LocateQuestion(request=ask, address=address, epoch=epoch, binding=binding),
                self._incoming.flow,
                self._on_located,
                now,
            )
            return
        self._fail(transaction, 480 if self._dialog_binding is None else 430, now)

    def _on_located(self, decision: Decision | None, now: float) -> None:
        if self._server.answered:
            return
        if isinstance(decision, Route) and decision.targets:
            # Only the flow is new: the remote target stays the one that the dialog has.
            target = decision.targets[0].model_copy(update={"uri": self._incoming.request.uri})
            self.forward([target], now)
        elif decision is None:
            self._core.unavailable(self._server, self._incoming, now)
        else:
            self._answer(430, now)

    def _fail(self, transaction: ClientTransaction, status: int, now: float) -> None:
        """A branch ends without a response of its own; one is made for it."""
        branch = self._branches[transaction.branch]
        self.timers.pop(transaction.branch, None)
        if branch.response is None:
            if self._incoming.request.method == "BYE":
                ended(self._core, self._incoming, self._call, status, now)
            # Carries our Via, as a response from there would.
            branch.response = make_response(transaction.request, status, to_tag=self._server.to_tag)
            self._maybe_answer(now)

    def _maybe_answer(self, now: float) -> None:
        """§16.7 steps 5 and 6: once all branches are final, the best goes back."""
        if self._server.answered:
            return
        responses = [branch.response for branch in self._branches.values()]
        finals = [response for response in responses if response is not None]
        if len(finals) < len(responses):
            return
        best = min(finals, key=_rank)
        if self._cancelled and best.status < 600:
            self._answer(487, now)
            return
        if best.status == 408 and not self.invite:
            self._answer(480, now)
            return
        answer = backward_response(best)
        if answer.status in (401, 407):  # step 7: every challenge is worth answering
            others = (response for response in finals if response is not best and response.status in (401, 407))
            answer.headers += [header for other in others for header in other.headers if header[0] in _CHALLENGES]
        elif answer.status == 503:  # step 6: our caller could only take it for us
            answer.status, answer.reason = 500, "Server Internal Error"
        self._server.respond(answer, now)

    def _answer(self, status: int, now: float) -> None:
        self._core.respond(self._server, self._incoming.request, status, now)

    # Cancelling

    def cancel(self, now: float) -> None:
        """The caller's CANCEL (§16.10)."""
        if self._server.answered or self._cancelled:
            return
        self._cancelled = True
        if not self._branches:
            self._answer(487, now)
            return
        self._cancel_all(now)

    def _cancel_all(self, now: float) -> None:
        for branch in self._branches.values():
            self._cancel(branch, now)

    def _cancel(self, branch: Branch, now: float) -> bool:
        """Cancel an unanswered INVITE branch (§9.1: not before its first provisional response)."""
        transaction = branch.transaction
        if not self.invite or branch.response is not None or branch.cancelled:
            return False
        self._cancelled = True  # branches that ring later are cancelled then
        if not branch.ringing:
            return False
        branch.cancelled = True
        request = make_cancel(transaction.request)
        cancel = NonInviteClient(self._core, _Nobody(), request, transaction.branch, transaction.flow)
        self._core.clients[cancel.key] = cancel
        cancel.begin(now)
        self._core.timers.start(self, transaction.branch, now + _CANCEL_WAIT)
        return True

    def on_timer(self, name: str, now: float) -> None:
        if name == "give_up":
            if not self._server.answered:
                self._answer(480, now)
            return
        branch = self._branches.get(name)  # Timer C (§16.8), or a CANCEL nobody honoured
        if branch is None or branch.response is not None:
            return
        if branch.transaction.state is State.PROCEEDING and not branch.cancelled:
            self._cancel(branch, now)
        else:
            self._fail(branch.transaction, 408, now)
            branch.transaction.abandon()


def _rank(response: Response) -> tuple[int, int]:
    """Lowest is best (§16.7 step 6): 6xx, then the lowest class, then what tells the caller what to do; a refusal
    made by somebody over one made by silence."""
    status = response.status
    if status >= 600:
        return (0, 0)
    if status in _PREFERRED:
        return (status // 100, 0)
    return (status // 100, 2 if status in (408, 480, 430) else 1)


class _Nobody:
    """Takes a CANCEL's responses: nothing follows from them."""

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None: ...

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None: ...

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None: ...
