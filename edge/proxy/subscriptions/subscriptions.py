"""Subscriptions to message summaries (RFC 3842, RFC 6665): an account's own phones may have them, one each.

Theory of operation. A subscription lives at the edge that has its phone's flow, in memory only. What it is about, the
latest summary of an account, the control plane keeps: it hears it with the question where a NOTIFY goes, and says it
when a phone subscribes. Whoever routes such a NOTIFY, at whatever edge, asks the peers which of the phones have
subscribed, has all edges show them the summary, and forwards the NOTIFY as it came to the others only.

Where an edge is started anew, or another takes its address over, its subscriptions are gone. The phone doesn't notice:
its next SUBSCRIBE, in a dialog that nobody remembers, makes the subscription again from what it says itself. That is
why none is granted for long. Until then the phone gets NOTIFYs as one that hasn't subscribed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edge.proxy.location.grants import HeldGrant
from edge.proxy.stack.answers import refuse, reject, respond, spread_retry_after, unavailable
from edge.proxy.stack.authentication import Presented
from edge.proxy.stack.events import TellSummary
from edge.proxy.stack.gruu import gruu_in_contact
from edge.proxy.stack.stack import Stack
from edge.proxy.stack.validation import check_required, check_text
from edge.proxy.subscriptions.summary import EVENT, NO_MESSAGES
from edge.proxy.subscriptions.summary_subscription import OWN_CONTACT, SummarySubscription
from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, tag_of
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header
from edge.sip.numbers import number_of
from edge.sip.telephone import name_of
from edge.sip.transaction import ServerTransaction
from edge.sip.uri import Uri, request_uri
from lambdas.contract import Challenge, Decision, Question, Reject, Route, RouteQuestion, Target

_SHORTEST, _LONGEST = 60, 600  # seconds
_FRESH = 3600.0  # seconds after which the control plane is asked again: a peer's word may have been lost
_HIGHEST = 2**32 - 1  # RFC 3261 §20.19
_MOST_TEXT = 4096  # characters of a subscription's Contact, Event and route set

SubscriptionKey = tuple[str, str, str]
"""Whose it is, Call-ID and our tag."""


class SubscribeRequest(NamedTuple):
    """What a SUBSCRIBE wants: for how many seconds, and where NOTIFYs go."""

    incoming: Incoming
    seconds: int
    target: str
    event: str
    routes: list[str]


class Subscriptions:
    """All at this edge."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._by_binding: dict[str, SummarySubscription] = {}
        self._by_dialog: dict[SubscriptionKey, SummarySubscription] = {}

    def __len__(self) -> int:
        return len(self._by_binding)

    def has(self, binding: str) -> bool:
        """Whether that phone has subscribed."""
        return binding in self._by_binding

    # What has changed

    def deliver(self, route: Route, summary: str, then: Callable[[Route, float], None], now: float) -> None:
        """Show ``summary`` to those of ``route``'s phones that have subscribed; ``then`` gets the way to the others."""
        stack = self._stack
        aors = sorted({target.aor for target in route.targets if target.aor})
        told: set[str] = set()
        answers: list[str] = []

        def ask(aor: str) -> None:
            def found(elsewhere: list[Target], at: float) -> None:
                told.update(target.binding for target in elsewhere if target.subscribed)
                stack.actions.append(TellSummary(aor, route.tenant, summary))
                answers.append(aor)
                if len(answers) == len(aors):
                    then(route.model_copy(update={"targets": _without(route.targets, told)}), at)

            told.update(self.show(aor, route.tenant, summary, now))
            stack.questions.find(aor, route.tenant, found)

        for aor in aors:
            ask(aor)
        if not aors:
            then(route, now)

    def show(self, aor: str, tenant: str, summary: str, now: float) -> list[str]:
        """Tell the phones of ``aor`` that have subscribed here; which bindings these are."""
        mine = [name for name, held in self._stack.bindings.of(aor) if held.tenant == tenant]
        found = [binding for binding in mine if binding in self._by_binding]
        for binding in found:
            self._by_binding[binding].show(summary, now)
        return found

    # SUBSCRIBE

    def subscribe(self, incoming: Incoming, now: float) -> None:
        """Answer, at once or once it is decided. Raises Fault, and Slowed."""
        stack, fleet, request = self._stack, self._stack.fleet, incoming.request
        check_required(request)
        held = stack.bindings.get(stack.bindings.first_on(incoming.flow))
        if held is None:
            reason = "Temporarily Unavailable: register first"
            raise Fault(480, reason, (spread_retry_after(request),))
        sender = incoming.from_uri()
        check_text(incoming, sender, incoming.uri)
        asked = _read(incoming)
        realm = fleet.canonical(sender.host) or held.aor.rpartition("@")[2]
        presented = stack.authenticator.credentials(incoming, realm, fleet, now)
        aor = presented.account
        if not incoming.to_tag and f"{name_of(incoming.uri)}@{fleet.canonical(incoming.uri.host)}" != aor:
            raise Fault(403, "Forbidden: an account's phones may subscribe to its own message summary only")
        binding = stack.bindings.on_flow(incoming.flow, aor)
        if not binding:
            raise Fault(403, "Forbidden: this phone isn't registered as who it says it is")
        known = self._by_dialog.get((aor, incoming.call_id, incoming.to_tag))
        if known is not None and incoming.cseq <= known.heard:
            raise Fault(500)  # RFC 3261 §12.2.2
        server = stack.serve(incoming, now)
        grant = presented.grant if presented.grant and stack.grants.holds(aor, presented.grant) else None
        server.once = grant is None
        if grant is not None and known is not None and (now < known.fresh_until or not asked.seconds):
            self._accept(asked, server, aor, binding, known.summary, now)
        else:
            self._ask(asked, server, presented, grant, binding, known, now)

    def _ask(
        self,
        asked: SubscribeRequest,
        server: ServerTransaction,
        presented: Presented,
        grant: HeldGrant | None,
        binding: str,
        known: SummarySubscription | None,
        now: float,
    ) -> None:
        stack, incoming, aor = self._stack, asked.incoming, presented.account
        request, address = incoming.request, incoming.flow.address

        def decided(decision: Decision | None, at: float) -> None:
            match decision:
                case Route():
                    found = decision.summary or NO_MESSAGES
                    accepted = self._accept(asked, server, aor, binding, found, at)
                    accepted.fresh_until = at + _FRESH
                case Reject():
                    reject(server, request, decision, at)
                case Challenge():
                    realm = presented.credentials.realm
                    algorithms = decision.algorithms
                    fault = stack.authenticator.fault(incoming, realm, stack.fleet, at, algorithms=algorithms)
                    refuse(server, request, fault, at)
                case None if grant is not None and stack.informed_lately(at) and stack.grants.holds(aor, grant):
                    self._accept(asked, server, aor, binding, known.summary if known else None, at)
                case _:
                    unavailable(server, request, stack.counters, at)

        def make(ask: str) -> Question:
            return RouteQuestion(
                request=ask,
                address=address,
                epoch=stack.fleet.epoch(address),
                method=request.method,
                caller=aor,
                called=aor,
                credentials=presented.credentials,
                call_id=incoming.call_id,
                flow=incoming.flow.wire,
            )

        stack.ask_about(presented, incoming, make, decided, now)

    def _accept(
        self,
        asked: SubscribeRequest,
        server: ServerTransaction,
        aor: str,
        binding: str,
        summary: str | None,
        now: float,
    ) -> SummarySubscription:
        """Answer 200, and tell at once what there is (RFC 6665 §4.2.1.2)."""
        incoming = asked.incoming
        request, flow = incoming.request, incoming.flow
        headers: list[Header] = [header for header in request.headers if header[0] == "record-route"]
        headers.append(("contact", f"Contact: <{self._stack.fleet.uri(flow, OWN_CONTACT, incoming.secure)}>"))
        headers.append(("expires", f"Expires: {asked.seconds}"))
        respond(server, request, 200, now, headers)
        subscription = self._by_dialog.get((aor, incoming.call_id, incoming.to_tag))
        if subscription is None or subscription.binding != binding:
            moved = subscription  # the phone has another Contact by now
            subscription = self._make(incoming, server.to_tag, aor, binding, now)
            if moved is not None:
                subscription.take_over(moved)
        subscription.heard = incoming.cseq
        subscription.renew(self._target(asked, binding), asked.event, asked.routes, asked.seconds, now)
        if asked.seconds:
            subscription.show(summary, now)
        else:
            subscription.summary = summary
            subscription.end("timeout", now)
        return subscription

    def _target(self, asked: SubscribeRequest, binding: str) -> str:
        """Where NOTIFYs go: the phone's registered Contact, if it has its GRUU there, which it needn't know itself."""
        held = self._stack.bindings.get(binding)
        line = asked.incoming.first.get("contact")
        gruu = gruu_in_contact(line, self._stack.fleet) if line is not None else None
        return asked.target if gruu is None or held is None else request_uri(held.contact)

    def _make(self, incoming: Incoming, tag: str, aor: str, binding: str, now: float) -> SummarySubscription:
        """The phone's only one: what it had before it started anew ends."""
        request = incoming.request
        before = self._by_binding.get(binding)
        if before is not None:
            before.end("noresource", now)
        local = request.get("to") or ""
        if not incoming.to_tag:
            local = f"{local};tag={tag}"
        dialog = (incoming.call_id, local, request.get("from") or "")
        made = SummarySubscription(self._stack, aor, binding, dialog, self._ended, now)
        self._by_binding[binding] = made
        self._by_dialog[aor, incoming.call_id, incoming.to_tag or tag] = made
        return made

    def _ended(self, subscription: SummarySubscription) -> None:
        if self._by_binding.get(subscription.binding) is subscription:
            del self._by_binding[subscription.binding]
        call_id, local, _ = subscription.dialog
        key = subscription.aor, call_id, tag_of(local)
        if self._by_dialog.get(key) is subscription:
            del self._by_dialog[key]


def _without(targets: list[Target], told: set[str]) -> list[Target]:
    """Those of phones that none of the bindings in ``told`` are of: a phone may have several (RFC 5626)."""
    instances = {(one.aor, one.instance) for one in targets if one.reg_id and one.binding in told}
    return [
        one for one in targets if one.binding not in told and not (one.reg_id and (one.aor, one.instance) in instances)
    ]


def _read(incoming: Incoming) -> SubscribeRequest:
    """Raises Fault."""
    request = incoming.request
    expires = incoming.value("expires")
    try:
        wanted = _LONGEST if expires is None else number_of(expires, _HIGHEST)
        routes = request.split_values("record-route")
        target = NameAddr.parse(incoming.value("contact") or "").uri
        if Uri.parse(target).scheme not in ("sip", "sips"):
            raise ParseError("a Contact to which no NOTIFY can be sent")
        if wanted is None:
            raise ParseError(f"no number of seconds: {expires!r}")
    except ParseError as error:
        raise Fault(400, f"Bad Request: {error}") from error
    if 0 < wanted < _SHORTEST:
        raise Fault(423, headers=(("min-expires", f"Min-Expires: {_SHORTEST}"),))
    event = incoming.value("event") or EVENT
    if len(target) + len(event) + sum(map(len, routes)) > _MOST_TEXT:
        raise Fault(400, "Bad Request: Contact, Event and Record-Route are too long")
    return SubscribeRequest(incoming, min(wanted, _LONGEST), target, event, routes)
