"""Who may send a request in a dialog.

Theory of operation. The two tokens in a request's Route say which dialog it is of, and whose side each is: the tags
have to fit, or they can't be read. What they can't say is that it is their owner who sends it: anybody may have seen
them. So a request has to come from its side's flow, or from where that side's binding is now; from anywhere else its
sender has to say who he is (§22.3), and must be a party of the call. A provider answers no challenge: its requests come
from where it was called, from its servers, or from the networks that its account names. ACK can't be challenged (§22.1)
and has no answer: tags that fit are enough.

And a call has to have been answered before a request in it rings somebody, or has a phone act. What this edge doesn't
remember the control plane knows; while it can't be asked, where the request comes from has to be enough.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.providers.agent import Agent
from edge.providers.leg_token import LegToPhone, LegToProvider
from edge.proxy.forwarding.record_route import DialogRoute, dialog_of
from edge.proxy.stack.abilities import IN_DIALOGS, not_allowed
from edge.proxy.stack.authentication import Presented
from edge.proxy.stack.questions import OnDecision
from edge.proxy.stack.stack import Stack
from edge.sip.incoming import Fault, Incoming
from lambdas.contract import Decision, DialogQuestion, Proceed, Reject

_ANSWERED = frozenset(("INVITE", "REFER", "NOTIFY", "SUBSCRIBE", "OPTIONS"))
"""What makes a phone ring or act; the others only end or adjust what is under way, and may come before the answer."""
_OF_SUBSCRIPTIONS = ("SUBSCRIBE", "NOTIFY", "REFER", "OPTIONS")
_RINGING = 300.0  # seconds after which a call that may still be unanswered isn't any more
_UNKNOWN = (491, 500)
"""What is answered where the call isn't on record."""
_TRIES, _PAUSE = 4, 1.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """What has to be asked before the request goes on: whether the call (``leg``, with the caller's ``call_id``) was
    answered, and who its sender is, by ``presented`` credentials or as ``provider``."""

    leg: str
    call_id: str
    presented: Presented | None = None
    provider: str = ""


class DialogGuard:
    """Stands on the stack; ``agent`` knows where providers are."""

    def __init__(self, stack: Stack, agent: Agent) -> None:
        self._stack = stack
        self._agent = agent

    def doubt(self, incoming: Incoming, route: DialogRoute, now: float) -> Doubt | None:
        """What is to be asked first; None: the request may go on. Raises Fault, and Slowed."""
        method = incoming.request.method
        methods = _OF_SUBSCRIPTIONS if route.call.subscription else IN_DIALOGS
        if method not in methods:
            raise not_allowed(methods)
        if incoming.flow.internal:
            return None  # from one provider on to another, through ourselves
        if isinstance(route.target, LegToPhone):
            if self._from_provider(incoming, route.target):
                return None
            return self._doubt(incoming, route, provider=route.target.provider)
        presented = None if self._from_its_side(incoming, route) else self.credentials(incoming, now)
        if presented is not None and not self._is_party(presented, route):
            return self._doubt(incoming, route, presented)
        return self._unanswered(incoming, route, presented, now)

    def _unanswered(
        self, incoming: Incoming, route: DialogRoute, presented: Presented | None, now: float
    ) -> Doubt | None:
        """Raises Fault 481 in a call that is known to be over."""
        method, called = incoming.request.method, route.called
        if not route.call.tenant or route.call.subscription or method == "BYE":
            return None
        leg, answered = dialog_of(incoming, route.target, self._stack.fleet)[1], self._stack.answered_calls
        if called is not None and answered.has_just_ended(leg, called, now):
            if method != "NOTIFY":  # of a transfer, which outlives its call
                raise Fault(481)
            return None
        late = self._stack.wall(now) - route.call.started > _RINGING
        known = called is not None and answered.knows(leg, called)
        return self._doubt(incoming, route, presented) if (method in _ANSWERED or late) and not known else None

    def ask(self, doubt: Doubt, incoming: Incoming, route: DialogRoute, then: OnDecision, now: float) -> None:
        """``then`` gets ``Proceed``, or what to answer."""
        _Inquiry(self._stack, doubt, incoming, route, then).ask(now)

    def _doubt(
        self, incoming: Incoming, route: DialogRoute, presented: Presented | None = None, provider: str = ""
    ) -> Doubt:
        call_id, leg = dialog_of(incoming, route.target, self._stack.fleet)
        return Doubt(leg, call_id, presented, provider)

    def is_from_its_side(self, incoming: Incoming, route: DialogRoute) -> bool:
        """Whether where a request comes from says that its sender is of the dialog."""
        if isinstance(route.target, LegToPhone):
            return self._from_provider(incoming, route.target)
        return self._from_its_side(incoming, route)

    def _from_its_side(self, incoming: Incoming, route: DialogRoute) -> bool:
        """Whether it comes from the flow of the side whose token it brings."""
        sender = route.sender
        if sender is None:
            return isinstance(route.target, LegToProvider)  # a way of before said nothing of it
        held = self._stack.bindings.get(sender.binding)
        if route.call.subscription and (held is None or (held.heard and self._stack.grants.known(held.aor) is None)):
            return False  # there is no call that ends with its account
        if incoming.source in (sender.flow, held.flow if held is not None else None):
            return True
        # Whoever hangs up may have another port by now, and phones seldom expect to be asked who they are then.
        return incoming.request.method == "BYE" and incoming.flow.host == sender.flow.host

    def _from_provider(self, incoming: Incoming, way: LegToPhone) -> bool:
        host = incoming.flow.host
        if host == way.peer or not way.peer or self._agent.is_source(way.provider, host):
            return True
        tenant = way.provider.partition("/")[0]  # of a trunk, whose servers are many
        return tenant in self._stack.provider_addresses.trusting.get(host, ())

    def credentials(self, incoming: Incoming, now: float) -> Presented:
        """Who its sender says that he is. Raises the Fault that asks for it, and Slowed."""
        fleet = self._stack.fleet
        self._stack.counters["dialogs_from_elsewhere"] += 1
        realm = fleet.canonical(incoming.from_uri().host) or fleet.default_domain
        if not realm:
            raise Fault(403, "Forbidden: not from where this dialog was begun")
        return self._stack.authenticator.credentials(incoming, realm, fleet, now)

    def _is_party(self, presented: Presented, route: DialogRoute) -> bool:
        """Whether this edge itself knows that the account is the one whose token it brings."""
        held = self._stack.bindings.get(route.sender.binding) if route.sender is not None else None
        return presented.grant is not None and held is not None and held.aor == presented.account


class _Inquiry:
    """Asks about one request; again, if the call isn't on record: its report may be under way, from an edge that has
    only just started. ``timers`` is read by the TimerHeap."""

    def __init__(self, stack: Stack, doubt: Doubt, incoming: Incoming, route: DialogRoute, then: OnDecision) -> None:
        self._stack = stack
        self._doubt = doubt
        self._incoming = incoming
        self._call = route.call
        self._called = route.called
        self._called_binding = route.called_binding
        self._caller_address = route.caller_address
        self._then = then
        self._tries = 0
        self.timers: dict[str, int] = {}

    def ask(self, now: float) -> None:
        self._tries += 1
        presented = self._doubt.presented
        if presented is not None:
            self._stack.ask_about(presented, self._incoming, self._question, self._decided, now)
        else:
            self._stack.questions.ask(self._question, self._decided, now)

    def on_timer(self, name: str, now: float) -> None:
        self.ask(now)

    def _question(self, ask: str) -> DialogQuestion:
        flow, presented = self._incoming.flow, self._doubt.presented
        return DialogQuestion(
            request=ask,
            address=flow.address,
            epoch=self._stack.fleet.epoch(flow.address),
            method=self._incoming.request.method,
            tenant=self._call.tenant,
            call=self._doubt.leg,
            started=self._call.started,
            credentials=presented.credentials if presented is not None else None,
            provider=self._doubt.provider,
            call_id=self._doubt.call_id,
            called=self._called_binding,
            flow=flow.wire,
        )

    def _decided(self, decision: Decision | None, now: float) -> None:
        if isinstance(decision, Reject) and decision.status in _UNKNOWN and self._tries < _TRIES:
            self._stack.timers.start(self, "again", now + _PAUSE)
            return
        if isinstance(decision, Reject) and decision.status in _UNKNOWN and self._is_orphaned() and self._is_enough():
            decision = Proceed()
        if isinstance(decision, Proceed) and self._incoming.request.method in _ANSWERED and self._called is not None:
            self._stack.answered_calls.note(self._doubt.leg, self._called)
        if decision is None and self._is_enough():
            decision = Proceed()
        self._then(decision, now)

    def _is_orphaned(self) -> bool:
        """Whether the process that has made the call is gone, and what it had to report perhaps with it: the caller's
        address has come here since. (Epochs are Unix time at least.)"""
        return self._stack.fleet.epoch(self._caller_address) > self._call.started

    def _is_enough(self) -> bool:
        """Whether the request may go on without an answer."""
        doubt = self._doubt
        if doubt.provider:
            return False
        if doubt.presented is None:
            return True
        grant = doubt.presented.grant
        return grant is not None and self._call.tenant in ("", grant.tenant)
