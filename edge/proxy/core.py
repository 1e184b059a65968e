"""The core: ``handle(event, now) -> actions``. No sockets, no clock, no randomness, no await.

``now`` is monotonic seconds. Whoever runs the core carries its actions out in order, and calls it with ``Tick`` no
later than ``deadline()``. Nothing happens here but dispatch: the rooms below do the work, and none of them knows the
core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge.providers.agent import Agent
from edge.providers.leg_token import LegToProvider
from edge.proxy.echo.echo_number import EchoNumber
from edge.proxy.forwarding.dialog_guard import DialogGuard
from edge.proxy.forwarding.forwarder import Forwarder
from edge.proxy.forwarding.messages import drop_routes
from edge.proxy.forwarding.record_route import route_of
from edge.proxy.forwarding.spirals import Spirals
from edge.proxy.registrar.disk_records import DiskRecords
from edge.proxy.registrar.expiries import GrantedTimes
from edge.proxy.registrar.housekeeping import Housekeeping
from edge.proxy.registrar.registrar import Registrar
from edge.proxy.registrar.updates import Updates
from edge.proxy.routing.hanging_up import HangingUp
from edge.proxy.routing.kept_routes import KeptRoutes
from edge.proxy.routing.router import Router
from edge.proxy.stack.abilities import ABILITIES, unsupported
from edge.proxy.stack.answers import refuse, spread_retry_after
from edge.proxy.stack.call_counts import ScopeUse
from edge.proxy.stack.echo_place import is_echo
from edge.proxy.stack.events import (
    Action,
    Answered,
    AwakeThere,
    BindingsChanged,
    ClosedThere,
    CoreEvent,
    Counted,
    Decided,
    Entrusted,
    Fed,
    FleetChanged,
    FlowClosed,
    Found,
    HangUp,
    HeldThere,
    JournalChanged,
    Leaving,
    MediaDone,
    MediaSilent,
    OverThere,
    ProvidersAssigned,
    ProvidersLocated,
    Received,
    RefreshedThere,
    RegisteredThere,
    Remembered,
    Resolved,
    SendFailed,
    StreamsEnd,
    SummaryThere,
    TellClosed,
    Tick,
    Told,
    ToldByPeer,
    Written,
)
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.own_places import OwnPlaces
from edge.proxy.stack.phones_here import phones_here
from edge.proxy.stack.provider_host import StackHost
from edge.proxy.stack.receiver import Receiver
from edge.proxy.stack.sources import Slowed
from edge.proxy.stack.stack import STATIC, Stack
from edge.proxy.stack.validation import check_required
from edge.proxy.subscriptions.subscriptions import Subscriptions
from edge.proxy.subscriptions.summary import is_about_messages
from edge.proxy.transfers.transfers import Transfers
from edge.sip.flow import Flow
from edge.sip.ids import Ids
from edge.sip.incoming import Fault, Incoming
from edge.sip.partition import WHOLE, Partition
from lambdas.contract import CallLost, CallName, Change, Target

_OUTAGE = 10.0  # seconds without a heartbeat's reply, after which there may be something to reconcile


class Core:
    """One edge's proxy and registrar front end, or the part of it that one of the edge's processes has."""

    def __init__(
        self,
        edge: str,
        boot: str,
        ids: Ids,
        keepalive_interval: float = 15.0,
        digest_algorithms: Sequence[str] = ("MD5",),
        static_seconds: float = STATIC,
        ports: Mapping[str, int] | None = None,
        names: Sequence[str] = (),
        no_nat_networks: Sequence[str] = (),
        partition: Partition = WHOLE,
    ) -> None:
        """``edge`` and ``boot`` are tokens (RFC 3261 §25.1) without dots; every branch names them as its owner.
        ``ports`` are those of our addresses for each transport; ``names`` as for OwnPlaces; phones in
        ``no_nat_networks`` (CIDR) have no NAT before them; ``partition`` is this process's part of the edge."""
        own = OwnPlaces((ports or {}).values(), names)
        stack = self.stack = Stack(
            edge, boot, ids, keepalive_interval, digest_algorithms, static_seconds, own, partition
        )
        spirals = Spirals(ids)
        self.kept_routes = KeptRoutes()
        times = GrantedTimes(no_nat_networks)
        self.disk_records = DiskRecords(stack, times)
        self.agent = Agent(StackHost(stack, ports or {}))
        self._receiver = Receiver(stack)
        self._registrar = Registrar(stack, times)
        self._updates = Updates(stack, times)
        self._housekeeping = Housekeeping(stack)
        guard = DialogGuard(stack, self.agent)
        self._forwarder = Forwarder(stack, self.agent, spirals, guard)
        self._subscriptions = Subscriptions(stack)
        self._router = Router(stack, self.agent, self.kept_routes, spirals, self._forwarder, self._subscriptions)
        self._echo = EchoNumber(stack, self._forwarder)
        self._hanging_up = HangingUp(stack, self._forwarder)
        self._epochs: dict[str, int] = {}
        self._transfers = Transfers(stack, self.agent, self.kept_routes, guard, self._forwarder)

    def handle(self, event: CoreEvent, now: float) -> list[Action]:
        """What follows from ``event``."""
        stack = self.stack
        match event:
            case Received(flow, data, banned, crowded):
                incoming = self._receiver.receive(flow, data, now)
                if incoming is not None and banned and self._begins_something(incoming):
                    stack.counters["banned"] += 1
                elif incoming is not None and crowded and incoming.request.method == "INVITE" and not incoming.to_tag:
                    stack.counters["crowded"] += 1
                    self._refuse(incoming, Fault(503, headers=(spread_retry_after(incoming.request),)), now)
                elif incoming is not None:
                    self._request(incoming, now)
            case Tick():
                stack.timers.fire(now)
            case SendFailed(ref):
                stack.counters["send_failures"] += 1
                stack.transactions.send_failed(ref, now)
            case FlowClosed(flow, why):
                self._flow_closed(flow, why, now)
            case Entrusted(owner, keys):
                stack.handover.entrusted(owner, keys, now)
            case Leaving(address, to):
                stack.actions += stack.handover.leave(address, to, stack.transactions.servers)
            case Decided() | Resolved() | Found() | Counted() | Written() | MediaDone():
                self._answered(event, now)
            case _:
                self._told(event, now)
        return stack.take_actions()

    def _flow_closed(self, flow: Flow, why: str, now: float) -> None:
        stack = self.stack
        aors = stack.bindings.drop_flow(flow, now)
        if aors:
            stack.flow_closed(flow, aors, now)
        elif not flow.connection:  # one that we had made; a stranger's is nobody's business
            stack.actions.append(TellClosed(flow, ()))
        self.agent.flow_closed(flow, now)
        stack.transactions.flow_closed(flow, now, why)

    def _answered(self, answer: Answered, now: float) -> None:
        questions = self.stack.questions
        match answer:
            case Decided(ask, decision):
                questions.decided(ask, decision, now)
            case Resolved(ref, addresses, fault):
                # A call that came back to us as a new one could go out again, and again.
                others = self.stack.fleet.outside(addresses)
                questions.resolved(
                    ref, others, fault if others or not addresses else "that is this service itself", now
                )
            case Found(ask, targets):
                questions.found(ask, targets, now)
            case Counted(ask, uses):
                questions.counted(ask, uses, now)
            case Written(ref):
                questions.written(ref, now)
            case MediaDone(ref, reply):
                questions.media_done(ref, reply, now)

    def _told(self, news: Told, now: float) -> None:
        match news:
            case FleetChanged(fleet):
                self._fleet_changed(fleet, now)
            case BindingsChanged(changes, streams):
                self._updates.update(changes, streams, now)
            case Fed(changes, revalidate):
                self._fed(changes, revalidate, now)
            case HangUp(calls):
                self._hanging_up.end_all(calls, now)
            case ProvidersAssigned(address, accounts, gone, complete):
                self.agent.assign(address, accounts, gone, complete, now)
            case ProvidersLocated(places):
                self.stack.note_providers(places)
            case JournalChanged(possible):
                self.stack.note_journal(possible)
            case MediaSilent(tenant, call, started, seconds):
                self.stack.counters["silent_calls"] += 1
                why = f"no media for {seconds} s"
                self.stack.questions.journal(CallLost(tenant=tenant, call=call, started=started, why=why))
            case Remembered(records, routes, bindings, accounts):
                self.disk_records.restore(records, bindings, now)
                self.kept_routes.restore(routes)
                self.agent.restore(accounts, bindings, now)
            case _:
                self._told_by_peer(news, now)

    def _told_by_peer(self, news: ToldByPeer, now: float) -> None:
        match news:
            case OverThere(call):
                self.stack.answered_calls.ended(call, now)
                self.stack.call_counts.leg_over(call, self.stack.wall(now))
                self.stack.session_timers.forget(call)
                self._transfers.ended(call, now)
            case RefreshedThere(address, tenant, call, started, seconds):
                if address in self.stack.fleet.epochs:
                    named = CallName(tenant=tenant, call=call, started=started)
                    self.stack.session_timers.note(named, seconds, now)
            case SummaryThere(aor, tenant, summary):
                self._subscriptions.show(aor, tenant, summary, now)
            case RegisteredThere(aor, grant, bindings):
                self._updates.registered(aor, grant, bindings, now)
            case AwakeThere(phone):
                self.stack.sleepers.came(phone, now)
            case HeldThere(address, epoch):
                self._held({address: epoch}, now)
            case StreamsEnd():
                self.stack.closed_flows.expect_back(now)
            case ClosedThere(flow, aors):
                if aors:
                    self.stack.closed_flows.note(flow, aors, now)
                self.stack.transactions.flow_closed(flow, now)

    def _fleet_changed(self, fleet: Fleet, now: float) -> None:
        before = self.stack.fleet
        silence = self.stack.inform(fleet)
        here = before.epochs.keys() & fleet.epochs.keys()  # a process keeps its streams, whatever its lease's epoch
        self._held({at: epoch for at, epoch in (fleet.elsewhere | fleet.epochs).items() if at not in here}, now)
        if not before.known:
            self._housekeeping.start(now)
        self.stack.bindings.keep_addresses(fleet.epochs.keys() | fleet.arriving)
        self.agent.keep_only(fleet.epochs, fleet.arriving, now)
        if silence > _OUTAGE:
            self._housekeeping.reconcile(now)

    def _held(self, epochs: Mapping[str, int], now: float) -> None:
        """Addresses are held in these epochs, by whomever. Where one is higher than before, another process has it now,
        and the streams that there were have ended."""
        moved = {at for at, epoch in epochs.items() if epoch > self._epochs.get(at, epoch)}
        self._epochs.update((at, epoch) for at, epoch in epochs.items() if epoch > self._epochs.get(at, 0))
        self.stack.transactions.streams_lost(moved, now)

    def _fed(self, changes: list[Change], revalidate: bool, now: float) -> None:
        if revalidate:
            self._updates.revalidate()
        for change in changes:
            self._updates.changed(change, now)
            if not change.binding:
                self.kept_routes.forget(change.plan, change.provider, change.aor, change.tenant)
        if any(not change.binding for change in changes):
            self.stack.answered_calls.clear()

    # Requests

    def _begins_something(self, incoming: Incoming) -> bool:
        """Whether it is neither of a dialog, nor keeps a phone registered, nor a provider's call for an account."""
        if incoming.request.method == "REGISTER":
            return not self.stack.bindings.first_on(incoming.source)
        return not (incoming.to_tag or self._router.is_from_outside(incoming))

    def _request(self, incoming: Incoming, now: float) -> None:
        if incoming.request.method == "ACK":
            self._ack(incoming, now)
            return
        stack = self.stack
        try:
            self._dispatch(incoming, now)
        except Fault as fault:
            self._refuse(incoming, fault, now)
        except Slowed:
            stack.counters["slowed"] += 1
            if incoming.flow.reliable:  # it won't be sent again
                self._refuse(incoming, Fault(503, headers=(spread_retry_after(incoming.request),)), now)
        except Exception:
            # Answered all the same; whoever runs the core reports it.
            self._refuse(incoming, Fault(500), now)
            raise

    def _refuse(self, incoming: Incoming, fault: Fault, now: float) -> None:
        """Without a transaction, unless there is one by now."""
        server = self.stack.transactions.servers.get(incoming.key)
        if server is None:
            self.stack.stateless.refuse(incoming.request, incoming.flow, incoming.octets, fault, now)
        else:
            refuse(server, incoming.request, fault, now)

    def _dispatch(self, incoming: Incoming, now: float) -> None:
        """Raises Fault."""
        stack = self.stack
        method = incoming.request.method
        if not stack.fleet.known:
            raise Fault(503, headers=(spread_retry_after(incoming.request),))
        if method == "SUBSCRIBE" and is_about_messages(incoming):
            self._subscriptions.subscribe(incoming, now)
            return
        if "route" in incoming.first and not incoming.to_tag and self._router.is_from_outside(incoming):
            drop_routes(incoming.request)
        route = route_of(incoming, stack.fleet, stack.own)  # §16.4
        if method == "REGISTER" and route is None:  # some phones write the To of the last 200, and are in no dialog
            self._registrar.register(incoming, now)
        elif route is None and is_echo(incoming):
            self._echo.request(incoming, now)
        elif incoming.to_tag:
            if route is None or not self._transfers.in_dialog(incoming, route, now):
                self._forwarder.in_dialog(incoming, route, now)
        elif not incoming.uri.user and self._is_edge(incoming):
            self._answer(incoming, now)
        else:
            self._router.route(incoming, now)

    def _is_edge(self, incoming: Incoming) -> bool:
        """Whether the host of its Request-URI is an edge's, or a domain of ours."""
        uri, fleet = incoming.uri, self.stack.fleet
        return fleet.canonical(uri.host) is not None or self.stack.own.has(uri, incoming.flow, fleet)

    def _answer(self, incoming: Incoming, now: float) -> None:
        """A request for the edge itself. Raises Fault."""
        request = incoming.request
        if request.method != "OPTIONS":
            raise unsupported(request.method)
        check_required(request)
        self.stack.stateless.answer(request, incoming.flow, incoming.octets, 200, now, ABILITIES)

    def _ack(self, incoming: Incoming, now: float) -> None:
        """Of a 2xx: it goes by its flow token, and is never answered."""
        stack = self.stack
        if not stack.fleet.known:
            return
        try:
            route = route_of(incoming, stack.fleet, stack.own)
            if route is None and is_echo(incoming):
                self._echo.acknowledged(incoming)
                return
            if route is None or not incoming.max_forwards:
                raise Fault(481)
            if isinstance(route.target, LegToProvider):
                self._transfers.note(incoming, route.target)
            self._forwarder.ack(incoming, route, now)
        except Fault:
            stack.counters["stray_acks"] += 1

    # For whoever runs the core

    def take_actions(self) -> list[Action]:
        """The actions so far. ``handle`` gives them, unless it raises."""
        return self.stack.take_actions()

    def deadline(self) -> float | None:
        """When ``Tick`` is due; None if nothing waits."""
        return self.stack.timers.deadline()

    def phones_here(self, whom: str, tenant: str) -> list[Target]:
        """As ``stack.phones_here`` has it, for a peer that asks."""
        subscribed = self._subscriptions.has
        return [
            phone.model_copy(update={"subscribed": subscribed(phone.binding)})
            for phone in phones_here(self.stack, whom, tenant)
        ]

    def used_here(self, scopes: list[str], now: float) -> list[ScopeUse]:
        """What this edge knows to be used of ``scopes``, for a peer that asks."""
        return [self.stack.call_counts.of(name, self.stack.wall(now)) for name in scopes]

    def keeps(self, flow: Flow) -> bool:
        """Whether a connection has to stay, however long nothing is heard on it: somebody is registered by it."""
        return bool(self.stack.bindings.first_on(flow)) or self.agent.keeps(flow)

    @property
    def hanging_up(self) -> bool:
        """Whether calls have been ended that are still to be forgotten: ``HangUp`` with an empty list does it."""
        return bool(self._hanging_up)

    @property
    def unanswered(self) -> int:
        """Requests that have no final response yet."""
        return sum(not server.answered for server in self.stack.transactions.servers.values())

    def gauges(self) -> dict[str, int]:
        """Sizes worth watching."""
        stack = self.stack
        return {
            "bindings": len(stack.bindings),
            "grants": len(stack.grants),
            "kept_flows": len(stack.keepalive),
            "awaited_phones": len(stack.sleepers),
            "closed_bindings": len(stack.bindings.closed),
            "sleeping_bindings": len(stack.bindings.asleep),
            "client_transactions": len(stack.transactions.clients),
            "server_transactions": len(stack.transactions.servers),
            "questions": len(stack.questions),
            "counted_calls": len(stack.call_counts),
            "timed_sessions": len(stack.session_timers),
            "echo_calls": len(self._echo),
            "sources": len(stack.sources),
            "outside_servers": len(stack.outside),
            "kept_routes": len(self.kept_routes),
            "subscriptions": len(self._subscriptions),
            "provider_accounts": len(self.agent),
            "provider_registrations": self.agent.registered(),
        }
