"""One target of a response context, and the client transaction that tries it (RFC 3261 §16.6 steps 5 to 11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from edge.providers.leg import make_in_dialog
from edge.providers.leg_token import RelayedMedia
from edge.proxy.forwarding import session_timer
from edge.proxy.forwarding.breadth import set_breadth
from edge.proxy.forwarding.browsers import in_browser, without_tel
from edge.proxy.forwarding.dialog_tokens import DialogTokens
from edge.proxy.forwarding.diversion import divert
from edge.proxy.forwarding.early_media import unreliable
from edge.proxy.forwarding.gruu_contacts import find_contact, is_gruu, with_registered_contact
from edge.proxy.forwarding.media_gate import NO_ENGINE, BranchMedia, MediaGate, MediaRefusal
from edge.proxy.forwarding.messages import backward_response
from edge.proxy.forwarding.target_set import of_same_instance
from edge.proxy.forwarding.waking import Waking
from edge.proxy.forwarding.withholding import Veiled, phone_request, phone_response, withholds
from edge.proxy.stack.answers import RETRY_AFTER, retry_after
from edge.proxy.stack.flow_token import CallReference
from edge.proxy.stack.stack import Stack
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr
from edge.sip.incoming import Incoming
from edge.sip.message import Header, Request, Response, header_of, make_response
from edge.sip.strict_routing import obey
from edge.sip.timers import T1, T4, TIMER_C
from edge.sip.transaction import ClientTransaction, InviteClient, NonInviteClient, TransactionState
from edge.sip.transaction.client import NOBODY, make_cancel
from edge.sip.uri import Uri, request_uri
from lambdas.contract import Stage, Target

_DIALOG_METHODS = frozenset(("INVITE", "SUBSCRIBE", "REFER", "NOTIFY"))
_MAX_DATAGRAM = 65_507  # octets that a UDP packet has room for over IPv4
_SIPS_NOT_ALLOWED: Header = ("warning", 'Warning: 380 sipwizard "SIPS Not Allowed"')  # RFC 5630 §7.2
_FIRST_WORD = 8 * T1  # for a phone's, where silence means that its flow is dead
_UNANSWERED = (TransactionState.CALLING, TransactionState.PROCEEDING)
_CANCEL_WAIT = 32.0  # §9.1: a branch that answers neither the CANCEL nor the INVITE is over after 64*T1


class BranchContext(Protocol):
    """What a branch finds at the response context that it is of, and what it tells it."""

    incoming: Incoming
    caller: str
    """The AOR that the request is from, "" inside a dialog."""
    why: str
    """Why branches are cancelled, as a Reason value (RFC 3326), or ""."""
    media: MediaGate | None
    """Where session descriptions wait for the media engine; None: no media of the call are relayed."""

    @property
    def to_tag(self) -> str: ...

    @property
    def stage(self) -> Stage:
        """The present one."""

    @property
    def outcome(self) -> int:
        """The status of the stage before the present one; 0 if there was none."""

    @property
    def cancelled(self) -> bool:
        """Whether what is under way is being cancelled."""

    @property
    def over(self) -> bool:
        """Whether the request has its final response."""

    @property
    def has_more(self) -> bool:
        """Whether there is somebody to try when the present branches fail."""

    def references(self) -> tuple[CallReference, CallReference]:
        """For tokens that lead to the callee, and to the caller."""

    @property
    def origin(self) -> CallReference:
        """The call that it is, or is a part of: whose it is, and when it was started."""

    def provisional(self, branch: Branch, response: Response, now: float) -> None: ...

    def final(self, branch: Branch, response: Response, now: float) -> None: ...

    def failed(self, branch: Branch, now: float) -> None:
        """It has ended without a response of its own."""

    def settle(self) -> None:
        """A transaction of one of its branches has ended."""

    def gone(self, branch: Branch) -> None:
        """It had failed before, and won't answer any more."""

    def lost(self, branch: Branch, now: float) -> None:
        """Its flow is dead (§16.9)."""

    def slept(self, now: float) -> None:
        """A phone has to be woken, or has been."""


class Branch:
    """``response`` is its final one; ``proceeding`` tells that a provisional one came (§17.1.1.2), ``rung`` one that
    says more than 100; ``delayed`` that its time hasn't come; ``breadth`` is its share of the request's Max-Breadth, 0
    until it has one; ``stage`` is the one that it belongs to; ``wanted`` is whom it is for, though the way there may be
    another; ``followed`` tells that the call went where its response redirects to; ``waking`` sees to it that the
    phone wakes, where it may sleep; ``incoming`` is the request as it is for this branch; ``media`` is how its media
    go, None as long as that isn't asked; ``unrelayed`` tells that it failed since they can't be relayed. ``timers`` is
    read by the TimerHeap."""

    salted = False
    """Whether the ways to its ends carry the edge's own name for the call."""

    def __init__(self, stack: Stack, context: BranchContext, target: Target, wanted: Target | None = None) -> None:
        """``wanted`` is ``target`` unless given."""
        self.stack = stack
        self.context = context
        self.target = target
        self.wanted = target if wanted is None else wanted
        self.transaction: ClientTransaction | None = None
        self.response: Response | None = None
        self.delayed = False
        self.breadth = 0
        self.proceeding = False
        self.rung = False
        self.cancelled = False
        self.stage = context.stage
        self.timers: dict[str, int] = {}
        self.followed = False
        self.waking: Waking | None = None
        self.incoming = context.incoming
        self.media: BranchMedia | None = None
        self.unrelayed = False
        self._asked_media = 0
        self._sent_again = False  # with another description
        self._diverted_after = context.outcome
        self._ended: set[ClientTransaction] = set()
        self._tokens: DialogTokens | None = None
        self._made = False
        self._withheld = False
        self._renamed = False
        self._veiled: Veiled | None = None

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

    @property
    def ended(self) -> bool:
        """Whether nothing is to come of it any more."""
        transaction = self.transaction
        return self.response is not None and (transaction is None or transaction.state is TransactionState.TERMINATED)

    @property
    def may_answer(self) -> bool:
        """Whether an answer may still come, whatever was made of it."""
        return self.transaction is not None and self.transaction.state in _UNANSWERED

    @property
    def flow_failed(self) -> bool:
        """Whether its final response says that the phone wasn't reached by this flow (RFC 5626 §7)."""
        return self.status == 430 or (self.status == 408 and not self.rung)

    @property
    def has_other_flow(self) -> bool:
        """Whether its phone has another one, that hasn't been tried."""
        return any(of_same_instance(self.target, one) for one in self.target.instead)

    # Trying it

    def delay(self, now: float) -> None:
        """Try it once the target's time has come."""
        self.delayed = True
        self.stack.timers.start(self, "delay", now + self.target.after)

    def wait(self) -> None:
        """Try it once the others have failed."""
        self.delayed = True

    def begin(self, now: float) -> None:
        """Try it, now."""
        self.delayed = False
        self.timers.pop("delay", None)
        self._start_timer_c(now)
        if self.waking is None or not self.waking.begin(now):
            self._try(now)

    def try_there(self, phone: Target, now: float) -> None:
        """Its phone is somewhere else now: send the request there, unless it has heard of it."""
        self.abandon()
        others = [one for one in self.target.instead if one.binding != phone.binding]
        there = {"uri": phone.uri, "flow": phone.flow, "path": phone.path, "binding": phone.binding}
        self.target = self.target.model_copy(update={**there, "instead": others})
        self._try(now)

    def _start_timer_c(self, now: float) -> None:
        """§16.6 step 11."""
        if self.context.incoming.request.method == "INVITE":
            self.stack.timers.start(self, "timer C", now + TIMER_C)

    def _try(self, now: float) -> None:
        target = self.target
        if is_gruu(target.uri, self.stack.fleet):
            tenant = self.context.references()[0].tenant
            find_contact(self.stack, target.uri, target.binding, tenant, self._reach, now)
        else:
            self._send_to(self.present_flow(), now)

    def _reach(self, contact: str, now: float) -> None:
        """``contact`` is the phone's own, which may know no other; "" if nobody knows it."""
        if self.response is not None or self.context.over:
            return
        if self.context.cancelled:
            self.fail(487, now)
            return
        if contact:
            self.target = self.target.model_copy(update={"uri": contact})
        self._send_to(self.present_flow(), now)

    def _send_to(self, flow: Flow, now: float) -> None:
        self._describe(flow, partial(self._send_described, flow), now)

    def _send_described(self, flow: Flow, now: float) -> None:
        self._send(*self._request(flow), flow, now)

    def _describe(self, flow: Flow, then: Callable[[float], None], now: float) -> None:
        """Go on once ``incoming`` describes the media as they are for whoever is at ``flow``."""
        gate = self.context.media
        if gate is None:
            if self.wanted.media == "relay" and not self.stack.fleet.relays and not self.context.incoming.to_tag:
                self._refuse_media(NO_ENGINE, now)
            else:
                then(now)
            return
        self._asked_media += 1
        asked = self._asked_media
        media = self.media = gate.judge(self.media, self.wanted, flow, self.context.references()[0], self.salted)
        request = gate.ready(media)

        def described(request: Request | None, refusal: MediaRefusal | None, at: float) -> None:
            if asked != self._asked_media or self.response is not None or self.context.over:
                return
            if self.context.cancelled:
                self.fail(487, at)
            elif refusal is not None:
                self._refuse_media(refusal, at)
            else:
                if request is not None:
                    self.incoming = replace(self.context.incoming, request=request)
                then(at)

        if request is None:
            gate.ask(media, described, now)
        else:
            self.incoming = replace(self.context.incoming, request=request)
            then(now)

    def _refuse_media(self, refusal: MediaRefusal, now: float) -> None:
        self.unrelayed = True
        later = (retry_after(RETRY_AFTER),) if refusal.passes else ()
        self.fail(refusal.status, now, refusal.reason, later)

    def present_flow(self) -> Flow:
        """Where the phone is by now. What happens to it here is known here first; that it has moved to another address
        the decision says first, but not a token, which is as old as its dialog."""
        target = self.target
        flow = Flow(*target.flow)
        present = self.stack.bindings.present_flow(target.binding) if target.binding else None
        if present is None or (present.address != flow.address and not self.context.incoming.to_tag):
            return flow
        return present

    def _request(self, flow: Flow) -> tuple[Request, str]:
        """The request for ``flow``, and its branch."""
        context, stack = self.context, self.stack
        incoming = self.incoming
        routes: list[Header] = []
        self._withheld = withholds(incoming, context.references()[0])
        if not incoming.to_tag and incoming.request.method in _DIALOG_METHODS:
            self._tokens = DialogTokens(stack, incoming, flow, self.target.binding, self, self._withheld)
            routes += self._tokens.routes()
        uri, branch = self._request_uri(), stack.transactions.branch(incoming.mark)
        if self._withheld:
            incoming = with_registered_contact(stack, incoming)
        request, self._veiled = phone_request(incoming, uri, flow, branch, routes, stack.fleet, self._withheld)
        return request, branch

    @property
    def caller(self) -> str:
        """Who sends the request, as the context has it."""
        return self.context.caller

    def references(self) -> tuple[CallReference, CallReference]:
        """As the context has them, for this branch's tokens."""
        there, back = self.context.references()
        gate = self.context.media
        return (there, back) if gate is None else (gate.tokens(self.media, there), gate.tokens(self.media, back))

    def session(self) -> RelayedMedia | None:
        """Where its media are relayed, for ways across a border."""
        gate = self.context.media
        return gate.named(self.media) if gate is not None else None

    def _request_uri(self) -> str:
        """A phone with a sips: Contact has a sip: one as well (RFC 5630 §5.4): a call that isn't secure all the way
        doesn't say that it is."""
        uri = request_uri(self.target.uri)
        incoming = self.context.incoming
        if uri[:5].lower() == "sips:" and not (incoming.secure or incoming.to_tag):
            return f"sip:{uri[5:]}"
        return uri

    def _send(self, request: Request, branch: str, flow: Flow, now: float) -> None:
        """§16.6 step 10."""
        self._renamed = without_tel(request, flow, self.stack, self.target.binding) or self._withheld
        self._begin(self._completed(request), branch, flow, now)

    def _completed(self, request: Request) -> Request:
        """With its share of the breadth, and what the decision has added to it."""
        target = self.target
        set_breadth(request, self.breadth)
        if target.path and not self.context.incoming.to_tag:  # RFC 3327 §5.4
            request.headers[1:1] = [("route", f"Route: {value}") for value in target.path]
        if target.diverted:
            divert(request, target.diverted, self._diverted_after)
        if target.headers:
            request.headers[1:1] = [header_of(line) for line in target.headers]
        if self.stage.early_media == "ringing":
            unreliable(request)
        session_timer.ask(request, self.context.incoming)
        obey(request)
        return request

    def _begin(self, request: Request, branch: str, flow: Flow, now: float) -> None:
        if self.context.incoming.secure and not (flow.secure or flow.internal):
            self.refuse_in_the_clear(now)
            return
        transaction = self._client(request, branch, flow, now)
        if not flow.reliable and len(transaction.data) > _MAX_DATAGRAM:
            self.fail(513, now)  # it has grown on its way, and a flow can't be changed for another transport
            return
        self.transaction = transaction
        if request.method == "INVITE" and self._owes_a_word(flow):
            self.stack.timers.start(self, "first word", now + _FIRST_WORD)
        self.stack.transactions.begin(transaction, now)

    def _owes_a_word(self, flow: Flow) -> bool:
        """Whether whoever says nothing to an INVITE isn't there: browsers answer 100 at once, and a connection of
        theirs may be lost without a sign; a phone with several flows is reached by another one."""
        target = self.target
        if self.context.incoming.to_tag or target.provider is not None:
            return False
        return in_browser(flow) or self.has_other_flow

    def _client(self, request: Request, branch: str, flow: Flow, now: float) -> ClientTransaction:
        if request.method == "INVITE":
            return InviteClient(self.stack, self, request, branch, flow)
        return NonInviteClient(self.stack, self, request, branch, flow)

    # What comes back

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """§16.7 steps 1 and 2."""
        if self.waking is not None:
            self.waking.over()
        self.timers.pop("first word", None)
        if response.status == 488 and self._unbridges():
            self.proceeding = False
            self._sent_again = True
            self._send_again(now)
        elif response.status == 482 and self._sent_again and not self.context.cancelled:
            # It has seen that this is the request of before, which it forgets after T4 (§8.2.2.2, §17.2.1).
            self.proceeding = self._sent_again = False
            self.stack.timers.start(self, "again", now + T4 + T1)
        elif response.status < 200:
            self.proceeding = True
            self.rung = self.rung or response.status > 100
            if response.status > 100 and self.response is None and not self.cancelled:
                self._start_timer_c(now)
            self.context.provisional(self, response, now)
        elif self.response is None or response.status < 300:  # another refusal than ours is too late
            self.timers.clear()
            self.response = response
            self._made = False
            self.context.final(self, response, now)
        else:
            self.context.gone(self)

    def _unbridges(self) -> bool:
        """Whether its phone takes no description of another kind than the caller's, and is to get that."""
        if self.response is not None or self.context.cancelled or self.context.incoming.to_tag:
            return False
        gate = self.context.media
        return gate is not None and self.media is not None and gate.unbridges(self.media, self.target.binding)

    def _send_again(self, now: float) -> None:
        """With another description."""
        self._send_to(self.present_flow(), now)

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None:
        self.fail(408, now)

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None:
        if self.waking is None or not self.waking.lost(now):
            self.lose(now)

    def on_end(self, transaction: ClientTransaction) -> None:
        self.context.settle()

    def lose(self, now: float) -> None:
        """Its flow is dead."""
        self.context.lost(self, now)

    def on_timer(self, name: str, now: float) -> None:
        """Its delay is over; Timer C (§16.8), or nobody honours its CANCEL."""
        if name == "delay":
            self.begin(now)
        elif name == "again":
            self._send_again(now)
        elif name == "first word":
            self._unheard(now)
        elif (
            name == "timer C" and self.transaction is not None and self.transaction.state is TransactionState.PROCEEDING
        ):
            self.cancel(now)
        else:
            self.abandon()
            self.fail(408, now)

    def _unheard(self, now: float) -> None:
        """Its phone has said nothing; one that is being woken has its time for that."""
        if self.waking is not None and self.waking.waits and not self.has_other_flow:
            self.stack.timers.start(self, "first word", now + _FIRST_WORD)
            return
        if self.transaction is not None:
            self.transaction.timers.pop("timer_a", None)  # not sent again
        self.lose(now)

    def _rings(self) -> bool:
        return self.transaction is not None and self.transaction.state is TransactionState.PROCEEDING

    def fail(self, status: int, now: float, reason: str = "", headers: Sequence[Header] = ()) -> None:
        """It ends without a response of its own; one is made for it."""
        if self.response is None:
            self.delayed = False
            self.timers.pop("delay", None)
            self.timers.pop("timer C", None)
            self.timers.pop("again", None)
            if self.waking is not None:
                self.waking.over()
            self._make(status, now, reason, headers)
        else:
            self.context.gone(self)

    def refuse_in_the_clear(self, now: float) -> None:
        """What came as sips: can't go there by TLS (RFC 5630 §5.3), but perhaps by another flow of that phone."""
        self.fail(
            430 if self.has_other_flow else 480,
            now,
            "Temporarily Unavailable: there is no way by TLS",
            (_SIPS_NOT_ALLOWED,),
        )

    def time_out(self, now: float) -> None:
        """What it has answered to our CANCEL says only that it didn't answer in time."""
        self._make(408, now, "")

    def _make(self, status: int, now: float, reason: str, headers: Sequence[Header] = ()) -> None:
        self._made = True
        request, to_tag = self.context.incoming.request, self.context.to_tag
        self.response = make_response(request, status, reason, to_tag, headers)
        self.context.failed(self, now)

    def answer(self, response: Response) -> Response:
        """``response`` as the request's sender gets it."""
        if self._made:
            return response
        answer = phone_response(
            backward_response(response),
            self.context.incoming,
            self._veiled,
            self._renamed,
            self.stack.fleet,
            self.target.uri if self._veiled is None else self._veiled.contact,
        )
        if self._tokens is not None and 100 < response.status < 300:
            self._tokens.bind(answer)
        return answer

    # Ending it

    def cancel(self, now: float) -> bool:
        """§9.1: an INVITE, and not before its first provisional response. Whether a CANCEL was sent."""
        transaction = self.transaction
        if "again" in self.timers or (self.waking is not None and self.waking.waits):
            self.fail(480, now)  # there is nobody to be told
            return False
        if transaction is None or not self.proceeding or self.cancelled or transaction.request.method != "INVITE":
            return False
        self.cancelled = True
        self.timers.pop("timer C", None)
        self.stack.timers.start(self, "cancel wait", now + _CANCEL_WAIT)
        self.cancel_transaction(transaction, now)
        return True

    def cancel_transaction(self, transaction: ClientTransaction, now: float) -> None:
        request = make_cancel(transaction.request, self.context.why)
        self._begin_unheard(request, transaction.branch, transaction.flow, now)

    def hang_up(self, response: Response, now: float) -> None:
        """It has answered ``response``, and nobody is there any more: acknowledge and end the call (§13.2.2.4)."""
        if self.transaction is not None:
            self._hang_up(self.transaction, response, now, self._routes_beyond(response))

    def _routes_beyond(self, response: Response) -> list[Header]:
        """The Route to whoever has answered, from here on: what proxies behind us have record-routed (§12.1.2)."""
        beyond: list[Header] = []
        try:
            for value in response.split_values("record-route"):
                if self.stack.fleet.address_at(Uri.parse(NameAddr.parse(value).uri).host):
                    break
                beyond.insert(0, ("route", f"Route: {value}"))
        except ParseError:
            return []
        return beyond

    def _hang_up(self, transaction: ClientTransaction, response: Response, now: float, routes: list[Header]) -> None:
        for method in ("ACK", "BYE"):
            branch = self.stack.transactions.branch(self.context.incoming.mark)
            request = make_in_dialog(transaction.request, response, method, branch)
            request.headers += routes
            obey(request)
            request.headers += self._credentials(method, request.uri)
            if method == "ACK":
                self.stack.transmit(transaction.flow, request.to_bytes(), "")
            elif transaction not in self._ended:
                self._ended.add(transaction)
                self._begin_unheard(request, branch, transaction.flow, now)

    def _begin_unheard(self, request: Request, branch: str, flow: Flow, now: float) -> None:
        """A request of ours whose answer nothing follows from."""
        self.stack.transactions.begin(NonInviteClient(self.stack, NOBODY, request, branch, flow), now)

    def _credentials(self, method: str, uri: str) -> list[Header]:
        return []

    def withdraw(self) -> None:
        """Another takes its place."""
        self.timers.clear()

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        if self.transaction is not None:
            self.transaction.abandon()
