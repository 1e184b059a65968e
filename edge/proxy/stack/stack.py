"""The ground of the proxy: what every part of it stands on. It knows none of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from edge.proxy.location.bindings import HeldBinding, HeldBindings
from edge.proxy.location.closed import ClosedFlows
from edge.proxy.location.grants import Grants
from edge.proxy.location.keepalive import Keepalive
from edge.proxy.location.pinger import Pinger
from edge.proxy.stack.answered_calls import AnsweredCalls
from edge.proxy.stack.answers import spread_retry_after
from edge.proxy.stack.authentication import Authenticator, Presented
from edge.proxy.stack.call_counts import CallCounts
from edge.proxy.stack.events import Action, EndStream, Send, TellAwake, TellClosed, TellRegistered
from edge.proxy.stack.fleet import NOTHING_KNOWN, Fleet
from edge.proxy.stack.handover import Handover
from edge.proxy.stack.outside import HeardOutside
from edge.proxy.stack.own_places import OwnPlaces
from edge.proxy.stack.provider_places import NONE_KNOWN, ProviderAddresses
from edge.proxy.stack.questions import OnDecision, Questions
from edge.proxy.stack.renumbered import RenumberedInvites
from edge.proxy.stack.session_timers import SessionTimers
from edge.proxy.stack.sleepers import Sleepers, target_of
from edge.proxy.stack.sources import Sources
from edge.proxy.stack.stateless import Stateless
from edge.proxy.stack.trunk_numbers import TrunkNumbers
from edge.proxy.stack.unbridged import UnbridgedPhones
from edge.proxy.stack.web_phones import seconds_to_end
from edge.sip.flow import Flow
from edge.sip.ids import Ids
from edge.sip.incoming import Fault, Incoming
from edge.sip.partition import WHOLE, Partition
from edge.sip.timers import TimerHeap
from edge.sip.transaction import ClientTransaction, ServerTransaction
from edge.sip.transaction.layer import SHARE, TransactionLayer
from lambdas.contract import Decision, Grant, LoginsFailed, Question

STATIC = 24 * 3600.0
"""Seconds for which grants are good without a word from the control plane."""
_LONGEST = 300  # characters of an account's name in a report


class Stack:
    """``fleet`` is the newest snapshot; ``recording`` is False while calls can't be recorded: no new ones are made
    then. ``actions`` are what has to be done so far, in order. ``outside`` knows who has answered elsewhere,
    ``provider_addresses`` whom the tenants' providers trust, ``trunk_numbers`` what those have called, ``own`` which
    URIs are ours."""

    def __init__(
        self,
        edge: str,
        boot: str,
        ids: Ids,
        keepalive_interval: float = 15.0,
        digest_algorithms: Sequence[str] = ("MD5",),
        static_seconds: float = STATIC,
        own: OwnPlaces = OwnPlaces((), ()),  # noqa: B008 - immutable
        partition: Partition = WHOLE,
    ) -> None:
        """``edge`` and ``boot`` are tokens (RFC 3261 §25.1) without dots; every branch names them as its owner.
        ``partition`` says which flows of the edge's addresses are this process's."""
        self.ids = ids
        self.timers = TimerHeap()
        self.counters: Counter[str] = Counter()
        self.actions: list[Action] = []
        self.transactions = TransactionLayer(edge, boot, ids)
        self.closed_flows = ClosedFlows()
        self.questions = Questions(ids, self.counters, self.actions, self.closed_flows)
        self.handover = Handover()
        self.keepalive = Keepalive(keepalive_interval)
        self.pinger = Pinger(self.transactions.owner, ids)
        self.bindings = HeldBindings(self.keepalive)
        self.grants = Grants()
        self.sources = Sources()
        self.authenticator = Authenticator(
            ids, digest_algorithms, self.bindings, self.grants, self.sources, self.counters, own
        )
        self.stateless = Stateless(self.bindings, self.sources, self.counters, self.transmit, ids.token())
        self.sleepers = Sleepers()
        self.call_counts = CallCounts()
        self.outside = HeardOutside()
        self.unbridged = UnbridgedPhones()
        self.provider_addresses = NONE_KNOWN
        self.trunk_numbers = TrunkNumbers()
        self.answered_calls = AnsweredCalls()
        self.session_timers = SessionTimers(self.timers, self.questions.journal, self.counters)
        self.renumbered = RenumberedInvites()
        self.fleet = NOTHING_KNOWN
        self.static_seconds = static_seconds
        self.own = own
        self.partition = partition
        self.recording = True
        self._informed_at = float("-inf")

    # What is known

    def inform(self, fleet: Fleet) -> float:
        """Take a new snapshot; seconds since the control plane spoke last, before this."""
        silence = fleet.informed_at - self._informed_at
        self.fleet = fleet
        self._informed_at = fleet.informed_at
        return silence

    def here(self, flow: Flow) -> bool:
        """Whether ``flow`` is this process's: of an address that the edge holds, and of its own part."""
        return flow.address in self.fleet.epochs and self.partition.has(flow)

    @property
    def alone(self) -> bool:
        """Whether there is nobody to tell anything: no other process has phones."""
        return self.partition.processes == 1 and len(self.fleet.addresses) <= len(self.fleet.epochs)

    def note_providers(self, addresses: ProviderAddresses) -> None:
        """Where all tenants' providers are by now."""
        self.provider_addresses = addresses

    def note_journal(self, possible: bool) -> None:
        """Whether calls can be recorded."""
        self.recording = possible

    def informed_lately(self, now: float) -> bool:
        """Whether what the control plane said last is still good without it."""
        return now - self._informed_at < self.static_seconds

    def wall(self, now: float) -> float:
        """Unix time."""
        return now + self.fleet.clock

    def flow_closed(self, flow: Flow, aors: Collection[str], now: float) -> None:
        """A connection here has ended, on which ``aors`` were registered: everybody has to know, so that nobody waits
        for an answer from there."""
        if self.closed_flows.note(flow, aors, now):
            self.actions.append(TellClosed(flow, tuple(aors)))

    def came(self, held: HeldBinding, binding: str, now: float) -> None:
        """A phone that may sleep has registered: whoever waits for it, here or at another edge, goes on."""
        phone = target_of(binding, held, self.wall)
        self.actions.append(TellAwake(phone))
        self.sleepers.came(phone, now)

    def tell_registered(self, aor: str, grant: Grant | None, bindings: Iterable[str]) -> None:
        """Phones of ``aor`` have registered here: another process of this edge that had them has them no more."""
        if self.partition.processes > 1:
            self.actions.append(TellRegistered(aor, grant, tuple(bindings)))

    # Questions about who somebody is

    def ask_about(
        self,
        presented: Presented,
        incoming: Incoming,
        make: Callable[[str], Question],
        then: OnDecision,
        now: float,
    ) -> None:
        """Put the question that ``make(its name)`` gives, about somebody with these credentials. Wrong ones that the
        control plane hasn't seen are reported to it."""

        def decided(decision: Decision | None, at: float) -> None:
            if self.authenticator.settle(presented, incoming.flow, decision, at):
                self.counters["undecided_failures"] += 1
                self.questions.journal(
                    LoginsFailed(
                        account=presented.account[:_LONGEST],
                        source=incoming.flow.host,
                        times=1,
                        at=self.wall(at),
                        address=incoming.flow.address,
                    )
                )
            then(decision, at)

        self.questions.ask(make, decided, now, known=presented.grant is not None)

    # For transactions

    def transmit(self, flow: Flow, data: bytes, ref: str, until: float = 0.0) -> None:
        seconds = seconds_to_end(flow, data)
        if seconds:
            self.counters["put_off"] += 1
            self.actions.append(EndStream(flow, seconds))
        else:
            self.actions.append(Send(flow, data, ref, until))

    def terminated(self, transaction: ClientTransaction | ServerTransaction) -> None:
        if isinstance(transaction, ServerTransaction):
            self.transactions.close(transaction)
        else:
            self.transactions.forget(transaction)
            transaction.let_go()

    def serve(self, incoming: Incoming, now: float) -> ServerTransaction:
        """The server transaction of a request, made if there is none yet; whoever takes the address over learns of it.
        Raises Fault 503 if there are too many."""
        server = self.transactions.servers.get(incoming.key)
        if server is not None:
            return server
        transactions = self.transactions
        if transactions.full(SHARE) and (transactions.full() or not self.stateless.proven(incoming.flow, now)):
            self.counters["overload"] += 1
            raise Fault(503, headers=(spread_retry_after(incoming.request),))
        server = self.transactions.open(self, incoming.request, incoming.key, incoming.flow, now)
        if self.handover.leaving:
            self.actions += self.handover.opened(incoming.flow.address, incoming.key)
        return server

    def take_actions(self) -> list[Action]:
        """The actions so far."""
        actions = self.actions[:]
        self.actions.clear()
        return actions
