"""What is asked of others, and who waits for the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from edge.media.orders import MediaOrder, MediaReply
from edge.providers.host import OnResolved
from edge.proxy.location.closed import ClosedFlows
from edge.proxy.stack.answers import RETRY_AFTER
from edge.proxy.stack.call_counts import ScopeUse
from edge.proxy.stack.events import Action, Ask, CountCalls, Find, OrderMedia, Resolve, Trust, WriteReport
from edge.sip.flow import ServerAddress
from edge.sip.ids import Ids
from edge.sip.server_names import digest_of
from lambdas.contract import Decision, Question, Reject, Report, Server, Target

MAX_QUESTIONS = 2000
"""Questions under way at once; past that requests are answered 503 at once instead of all being answered late."""
MAX_STRANGERS = 500
"""Of those the ones about whom nothing is known, so that they leave room for the others."""
_MOST_TRUSTED = 1000  # CAs
OVERLOADED = Reject(status=503, retry_after=RETRY_AFTER)
"""Too much is asked at once. That isn't the control plane's silence, and nothing is done without a decision."""

OnDecision = Callable[[Decision | None, float], None]
OnFound = Callable[[list[Target], float], None]
OnCounted = Callable[[list[list[ScopeUse]], float], None]
OnWritten = Callable[[float], None]
OnMedia = Callable[[MediaReply, float], None]
Then = TypeVar("Then")


class Pending(Generic[Then]):
    """Who waits for what, by unguessable names."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._waiting: dict[str, Then] = {}

    def put(self, then: Then) -> str:
        """The name under which ``then`` waits."""
        name = self._ids.token()
        self._waiting[name] = then
        return name

    def take(self, name: str) -> Then | None:
        """Who waited; None if nobody does any more."""
        return self._waiting.pop(name, None)

    def __len__(self) -> int:
        return len(self._waiting)


class Questions:
    """To the control plane, to peers and to the resolver; and reports, which are answered once they are safe."""

    def __init__(self, ids: Ids, counters: Counter[str], actions: list[Action], closed_flows: ClosedFlows) -> None:
        self._counters = counters
        self._actions = actions
        self._closed_flows = closed_flows
        self._asking: Pending[OnDecision] = Pending(ids)
        self._strangers = 0  # of those, the ones about strangers
        self._finding: Pending[OnFound] = Pending(ids)
        self._counting: Pending[OnCounted] = Pending(ids)
        self._writing: Pending[OnWritten] = Pending(ids)
        self._resolving: Pending[OnResolved] = Pending(ids)
        self._relaying: Pending[OnMedia] = Pending(ids)
        self._trusted: set[str] = set()

    def __len__(self) -> int:
        """How many the control plane has still to answer."""
        return len(self._asking)

    # To the control plane

    def ask(self, make: Callable[[str], Question], then: OnDecision, now: float, known: bool = True) -> None:
        """Put the question that ``make(its name)`` gives. ``then`` gets the decision; None if it can't be had.
        ``known``: whoever it is about has shown who he is."""
        if len(self._asking) >= MAX_QUESTIONS or (not known and self._strangers >= MAX_STRANGERS):
            self._counters["overload"] += 1
            then(OVERLOADED, now)
            return
        self._counters["questions"] += 1
        ask = self._asking.put(then if known else self._about_stranger(then))
        self._actions.append(Ask(ask, self._with_closed(make(ask), now), known))

    def _with_closed(self, question: Question, now: float) -> Question:
        """With the flows that lead nowhere any more, as far as this edge knows."""
        if not len(self._closed_flows):
            return question
        about = [getattr(question, name) for name in ("aor", "called", "caller") if hasattr(question, name)]
        return question.model_copy(update={"closed": self._closed_flows.named(about, now)})

    def _about_stranger(self, then: OnDecision) -> OnDecision:
        self._strangers += 1

        def decided(decision: Decision | None, now: float) -> None:
            self._strangers -= 1
            then(decision, now)

        return decided

    def decided(self, ask: str, decision: Decision | None, now: float) -> None:
        then = self._asking.take(ask)
        if then is not None:
            then(decision, now)

    def journal(self, report: Report, then: OnWritten | None = None) -> None:
        """Report to the control plane some time; ``then`` is called once the report can't be lost."""
        self._actions.append(WriteReport(report, self._writing.put(then) if then is not None else ""))

    def written(self, ref: str, now: float) -> None:
        then = self._writing.take(ref)
        if then is not None:
            then(now)

    # To others

    def find(self, aor: str, tenant: str, then: OnFound) -> None:
        """Ask the other edges where ``aor`` is: an AOR, a Contact URI, or a binding's id."""
        self._actions.append(Find(self._finding.put(then), aor, tenant))

    def found(self, ask: str, targets: list[Target], now: float) -> None:
        then = self._finding.take(ask)
        if then is not None:
            then(targets, now)

    def count(self, scopes: list[str], then: OnCounted) -> None:
        """Ask the other edges what is used of ``scopes``."""
        self._actions.append(CountCalls(self._counting.put(then), scopes))

    def counted(self, ask: str, uses: list[list[ScopeUse]], now: float) -> None:
        then = self._counting.take(ask)
        if then is not None:
            then(uses, now)

    def order_media(self, address: str, order: MediaOrder, then: OnMedia | None = None) -> None:
        """Give ``order`` to the engine of that edge address; ``then`` gets what has become of it."""
        ref = self._relaying.put(then) if then is not None else ""
        self._actions.append(OrderMedia(ref, address, order))

    def media_done(self, ref: str, reply: MediaReply, now: float) -> None:
        then = self._relaying.take(ref)
        if then is not None:
            then(reply, now)

    def resolve(self, server: Server, ipv6: bool, then: OnResolved) -> None:
        """Find a provider's server (RFC 3263 §4); ``ipv6``: what is sent there may go to an IPv6 address."""
        self.trust(server.ca)
        self._actions.append(Resolve(self._resolving.put(then), server, ipv6))

    def trust(self, ca: str) -> None:
        """That servers' certificates may be signed by ``ca`` (PEM), where a flow's ``server`` says so; "": nothing."""
        if ca:
            if len(self._trusted) >= _MOST_TRUSTED:
                self._trusted.clear()
            self._trusted.add(digest_of(ca))
            self._actions.append(Trust(ca))

    def trusts(self, digest: str) -> bool:
        """Whether the CA of that digest is known here; "" is nobody's own."""
        return not digest or digest in self._trusted

    def resolved(self, ref: str, addresses: list[ServerAddress], fault: str, now: float) -> None:
        then = self._resolving.take(ref)
        if then is not None:
            then(addresses, fault, now)
