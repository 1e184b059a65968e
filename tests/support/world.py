"""A whole service in memory with a virtual clock: real cores, the real decision functions, scripted phones, NATs."""

from __future__ import annotations

import base64
import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from edge.media.judging import Networks
from edge.proxy.core import Core
from edge.proxy.stack.events import (
    Action,
    Ask,
    BindingsChanged,
    CoreEvent,
    CountCalls,
    Counted,
    Decided,
    EndStream,
    Entrust,
    Entrusted,
    Fed,
    Find,
    FleetChanged,
    FlowClosed,
    Found,
    HeldThere,
    MediaDone,
    OrderMedia,
    Received,
    RegisteredThere,
    Relay,
    Resolve,
    Resolved,
    Send,
    SendFailed,
    TellAwake,
    TellClosed,
    TellOver,
    TellRefreshed,
    TellRegistered,
    TellSummary,
    Tick,
    WriteReport,
    Written,
)
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.flow_token import TokenKeys
from edge.runtime.workers import there
from edge.sip.digest import ALGORITHMS
from edge.sip.flow import Flow, ServerAddress
from edge.sip.partition import WHOLE, Partition
from edge.sip.places import Places
from lambdas.contract import VERSION, Report, Server
from tests.support.agent import Agent
from tests.support.control import DOMAIN, DOMAINS, Control
from tests.support.engine import FakeEngine

LATENCY = 0.01
TOKEN_KEYS = {7: bytes(range(64))}
NONCE_KEYS = {7: b"n" * 32}
WALL = 1_800_000_000.0


class CountedIds:
    """Identifiers that are the same in every run."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._next = itertools.count(1)

    def token(self) -> str:
        return f"{self._prefix}{next(self._next)}"

    def salt(self) -> bytes:
        return next(self._next).to_bytes(4, "big")


class Node:
    """One edge, or a process of it: its core, and what the world's network does for it."""

    def __init__(self, world: World, edge: str, address: str, boot: str, partition: Partition = WHOLE) -> None:
        self.world = world
        self.edge = edge
        self.address = address
        self.boot = boot
        self.partition = partition
        ids = CountedIds(f"{edge}{boot}")
        self.epoch = 1
        self.core = Core(
            edge,
            boot,
            ids,
            digest_algorithms=world.digest_algorithms,
            no_nat_networks=world.no_nat_networks,
            partition=partition,
        )
        self.alive = True
        self.sent: list[Send] = []
        self.ended: list[tuple[Flow, int]] = []  # streams that were to end, and after how many seconds
        self.journal: list[Report] = []
        self.disk = True  # whether the journal can be written
        self.fed = 0
        self.told = world.control.clock()
        self.connections: dict[Flow, Phone] = {}

    def handle(self, event: CoreEvent) -> None:
        if not self.alive:
            return
        for action in self.core.handle(event, self.world.now):
            self._carry_out(action)
        deadline = self.core.deadline()
        if deadline is not None:
            self.world.at(deadline, self._tick)

    def _tick(self) -> None:
        deadline = self.core.deadline()
        if self.alive and deadline is not None and deadline <= self.world.now:
            self.handle(Tick())

    def _carry_out(self, action: Action) -> None:
        world = self.world
        match action:
            case Send(flow, data, ref, until):
                if until and world.now >= until:
                    return
                if flow.address == self.address and (self.partition.has(flow) or flow.transport == "udp"):
                    self.sent.append(action)
                    sent = self.transmit(flow, data)
                else:
                    sent = world.over_mesh(flow, data)
                if not sent and ref:
                    world.after(0, lambda: self.handle(SendFailed(ref)))
            case Resolve(ref, server, ipv6):
                addresses = world.found(server, ipv6)
                fault = "" if addresses else f"{server.host} can't be resolved"
                world.after(LATENCY, lambda: self.handle(Resolved(ref, addresses, fault)))
            case Relay(owner, flow, data, boot):
                node = world.owner(owner, boot, flow)
                if node is not None:
                    world.handed_over += 1
                    world.after(LATENCY, lambda: node.handle(Received(flow, data)))
            case WriteReport(item, ref):
                self.journal.append(item)
                if ref and self.disk:
                    world.after(0.002, lambda: self.handle(Written(ref)))
                world.after(0.1, self.deliver)
            case Find(ask, aor, tenant):
                found = [
                    target
                    for node in world.nodes.values()
                    if node is not self and node.alive
                    for target in node.core.phones_here(aor, tenant)
                ]
                world.after(2 * LATENCY, lambda: self.handle(Found(ask, found)))
            case _:
                self._ask_others(action)

    def _ask_others(self, action: Action) -> None:
        world = self.world
        match action:
            case CountCalls(ask, scopes):
                uses = [
                    node.core.used_here(scopes, world.now)
                    for node in world.nodes.values()
                    if node is not self and node.alive
                ]
                world.after(2 * LATENCY, lambda: self.handle(Counted(ask, uses)))
            case TellOver() | TellRefreshed() | TellSummary() | TellAwake() | TellClosed():
                for node in world.nodes.values():
                    if node is not self:
                        world.after(LATENCY, partial(node.handle, there(action)))
            case TellRegistered(aor, grant, bindings):
                for node in world.nodes.values():
                    if node is not self and node.edge == self.edge:
                        world.after(LATENCY, partial(node.handle, RegisteredThere(aor, grant, bindings)))
            case OrderMedia():
                world.order(self, action)
            case EndStream(flow, after):
                self.ended.append((flow, after))
            case Entrust(to, _, keys):
                world.after(LATENCY, lambda: world.nodes[to].handle(Entrusted(self.edge, keys)))
            case Ask(ask, question, _):
                if world.control.dark:
                    world.after(4.5, lambda: self.handle(Decided(ask, None)))
                else:
                    decision = world.control.decide(question)
                    world.after(world.decision_time, lambda: self.handle(Decided(ask, decision)))

    def deliver(self) -> None:
        """The journal's delivery."""
        if self.alive and not self.world.control.dark:
            reports, self.journal = self.journal, []
            for item in reports:
                self.world.control.report(item)

    def beat(self) -> None:
        """A heartbeat, if the control plane can be reached."""
        control = self.world.control
        if self.alive and not control.dark:
            self.world.inform(self)
            changes, self.fed = control.feed[self.fed :], len(control.feed)
            self.handle(Fed(changes, False))
            self.handle(BindingsChanged(control.changes(self.address, self.told), frozenset(self.connections)))
            self.told = control.clock()
            self.deliver()
        self.world.after(2.0, self.beat)

    def transmit(self, flow: Flow, data: bytes) -> bool:
        """Put on the wire; False if the flow is known to be dead."""
        if self.core.stack.bindings.retired(flow):
            return False
        if flow.internal:
            self.world.after(0, lambda: self.handle(Received(flow, data)))
            return True
        if flow.reliable and flow.connection:
            if flow not in self.connections:
                return False
            self.world.after(LATENCY, lambda: self._arrive(flow, data))
            return True
        self.world.deliver(flow, data)
        return True

    def _arrive(self, flow: Flow, data: bytes) -> None:
        """At the phone, unless its connection has ended meanwhile."""
        phone = self.connections.get(flow)
        if phone is not None:
            phone.agent.take(data)


@dataclass
class Phone:
    """A scripted phone at ``public`` (host, port), which is also what its NAT shows. ``open_to`` are the edge
    addresses whose packets its NAT lets in, by when the mapping runs out."""

    world: World
    agent: Agent
    node: str
    public: tuple[str, int]
    nat: float | None = None
    inbound_refresh: bool = True
    open_to: dict[str, float] = field(default_factory=dict)
    connection: Flow | None = None
    dropped: int = 0

    def send(self, data: bytes) -> None:
        world = self.world
        address = world.nodes[self.node].address
        if self.agent.transport == "UDP":
            flow = Flow(address, 5060, "udp", *self.public)
            if self.nat is not None:
                self.open_to[address] = world.now + self.nat
        else:
            assert self.connection is not None
            flow = self.connection
        world.after(LATENCY, lambda: world.process(self.node, flow).handle(Received(flow, data)))

    def connect(self) -> None:
        """A new connection to its edge."""
        udp = Flow(self.world.nodes[self.node].address, 5060, "udp", *self.public)
        node = self.world.process(self.node, udp)  # as the kernel steers it
        transport = self.agent.transport.lower()
        port = 5061 if transport == "tls" else 5060
        number = node.partition.connection(self.world.workers * next(self.world.serial))
        self.connection = Flow(node.address, port, transport, *self.public, number)
        node.connections[self.connection] = self

    def disconnect(self) -> None:
        if self.connection is not None:
            node = self.world.process(self.node, self.connection)
            node.connections.pop(self.connection, None)
            node.handle(FlowClosed(self.connection))

    def register(self, expires: int | None = 3600, **kwargs: object) -> int:
        """REGISTER with credentials; the final status."""
        request = self.agent.register_request(expires, **kwargs)  # type: ignore[arg-type]
        return self.transact(request).status

    def transact(self, request, repeat: tuple[float, ...] = ()):
        """Send, again after each delay in ``repeat``, answer a challenge, wait; the final response."""
        for _ in range(3):
            wire = request.to_bytes()
            for delay in (0.0, *repeat):
                self.world.after(delay, lambda wire=wire: self.send(wire))
            response = self.world.wait(lambda request=request: self.agent.final(request))
            if response.status not in (401, 407):
                return response
            if request.method == "INVITE":
                self.ack_refusal(request, response)
            request = self.agent.authorize(request, response)
        return response

    def ack_refusal(self, request, response) -> None:
        from edge.sip.transaction.client import make_ack

        self.send(make_ack(request, response).to_bytes())

    def start_call(self, uri: str, headers=None):
        """INVITE through the challenge; the INVITE that carries credentials."""
        invite = self.agent.invite_request(uri, headers)
        self.send(invite.to_bytes())
        challenge = self.world.wait(lambda: next(iter(self.agent.responses("INVITE", invite.get("call-id"))), None))
        assert challenge.status == 407, challenge.status
        self.ack_refusal(invite, challenge)
        invite = self.agent.authorize(invite, challenge)
        self.send(invite.to_bytes())
        return invite


class World:
    """Edges, phones, a control plane and time."""

    def __init__(
        self,
        edges: int = 2,
        beating: bool = False,
        no_nat_networks: Sequence[str] = (),
        digest_algorithms: Sequence[str] = ALGORITHMS,
        sides: dict[str, tuple[str, str]] | None = None,
        media: bool = False,
        engine: type[FakeEngine] = FakeEngine,
        workers: int = 1,
    ) -> None:
        """``sides``: as for Places; ``media``: each edge address has an ``engine``. With ``workers`` each edge is so many
        processes: ``edge-a``, ``edge-a/1``, ..."""
        self.workers = workers
        self.handed_over = 0
        self.sides = sides or {}
        self.media = media
        self.public_networks = Networks()
        self.engines: dict[str, FakeEngine] = {}
        self.no_nat_networks = no_nat_networks
        self.digest_algorithms = digest_algorithms
        self.now = 1000.0
        self.serial = itertools.count(1)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self.control = Control(lambda: WALL + self.now)
        keys = self.control.keys.of(WALL)
        use = next(key.id for key in keys if key.use)
        self.tokens = TokenKeys(TOKEN_KEYS | {key.id: base64.b64decode(key.token) for key in keys}, use)
        self.decision_time = 0.02
        self.spoken = VERSION
        self.loss: Callable[[Flow, bytes], bool] = lambda flow, data: False
        self.nodes: dict[str, Node] = {}
        self.phones: dict[tuple[str, int], Phone] = {}
        self.dropped = 0
        self.servers: dict[str, list[ServerAddress]] = {}
        self.exclusive: dict[str, tuple[float, float]] = {}
        for index in range(edges):
            edge = f"edge-{chr(ord('a') + index)}"
            address = f"203.0.113.{11 + index}"
            for worker in range(workers):
                name, boot = (edge, "b1") if not worker else (f"{edge}/{worker}", f"b1w{worker}")
                self.nodes[name] = Node(self, edge, address, boot, Partition(worker, workers))
            self.engines[address] = engine(address)
        for node in self.nodes.values():
            self.inform(node)
            if beating:
                node.beat()

    def inform(self, node: Node) -> None:
        node.handle(FleetChanged(self.fleet(node)))

    def fleet(self, node: Node) -> Fleet:
        return Fleet(
            epochs={node.address: node.epoch},
            elsewhere={other.address: other.epoch for other in self.nodes.values() if other.address != node.address},
            places=Places((other.address for other in self.nodes.values()), self.sides, self.spoken >= 9),
            domains=DOMAINS,
            default_domain=DOMAIN,
            nonce_keys=NONCE_KEYS,
            nonce_key=7,
            tokens=self.tokens,
            clock=WALL,
            informed_at=self.now,
            spoken=self.spoken,
            exclusive={node.address: self.exclusive.get(node.address, (0.0, float("inf")))},
            media=self.media,
            public_networks=self.public_networks,
        )

    def restart(self, edge: str) -> None:
        """kill -9 and start again: a new core, bindings read back, connections gone, reports delivered."""
        old = self.nodes[edge]
        old.alive = False
        node = self.nodes[edge] = Node(self, old.edge, old.address, f"{old.boot}x", old.partition)
        node.epoch = old.epoch + 1 if self.workers == 1 else old.epoch
        node.journal = old.journal  # it is on the disk
        for other in self.nodes.values():
            if other.address != node.address:
                self.after(LATENCY, partial(other.handle, HeldThere(node.address, node.epoch)))
        self.after(0.1, node.deliver)
        self.inform(node)
        wall = self.control.clock()
        changes = [
            item.as_change(wall)
            for item in self.control.items.values()
            if item.address == node.address and item.live(wall)
        ]
        node.handle(BindingsChanged(changes))

    def phone(
        self, username: str, node: str = "edge-a", transport: str = "UDP", ipv6: bool = False, **kwargs: object
    ) -> Phone:
        """A phone with an account, not yet registered. One with ``ipv6`` knows its own address."""
        number = len(self.phones)
        host = f"192.0.2.{number + 1}" if number < 250 else f"198.18.{number // 250}.{number % 250 + 1}"
        port = 30000 + number
        if ipv6:
            host = f"2001:db8:1:{len(self.phones) + 1:x}::2"
        if f"{username}@{DOMAIN}" not in self.control.accounts:
            self.control.add(username, f"pw-{username}")
        inside = (f"[{host}]", port) if ipv6 else ("10.0.0.9", 5060)
        agent = Agent(username, DOMAIN, f"pw-{username}", *inside, lambda data: None, transport)
        phone = Phone(self, agent, node, (host, port), **kwargs)  # type: ignore[arg-type]
        agent.send = phone.send
        self.phones[host, port] = phone
        if transport != "UDP":
            phone.connect()
        return phone

    # Time

    def at(self, when: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (when, next(self.serial), work))

    def after(self, delay: float, work: Callable[[], None]) -> None:
        self.at(self.now + delay, work)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            when, _, work = heapq.heappop(self._heap)
            self.now = max(self.now, when)
            work()
        self.now = end

    def wait(self, found, seconds: float = 40):
        """Let time pass until ``found()`` is true; its value."""
        end = self.now + seconds
        while True:
            value = found()
            if value:
                return value
            if not self._heap or self._heap[0][0] > end:
                raise AssertionError(f"nothing within {seconds} s")
            when, _, work = heapq.heappop(self._heap)
            self.now = max(self.now, when)
            work()

    # The network

    def found(self, server: Server, ipv6: bool) -> list[ServerAddress]:
        """What RFC 3263 gives."""
        known = self.servers.get(server.host, [])
        by_tls = [one for one in known if (one[0] == "tls") == (server.transport == "tls") or server.by_dns]
        return [one for one in by_tls if ipv6 or ":" not in one[1]]

    def deliver(self, flow: Flow, data: bytes) -> None:
        """A UDP packet from an edge address to a phone's public one, through its NAT."""
        phone = self.phones.get((flow.host, flow.remote_port))
        if phone is None or self.loss(flow, data):
            return
        if phone.nat is not None:
            if phone.open_to.get(flow.address, 0) < self.now:
                phone.dropped += 1
                return
            if phone.inbound_refresh:
                phone.open_to[flow.address] = self.now + phone.nat
        self.after(LATENCY, lambda: phone.agent.take(data))

    def order(self, node: Node, action: OrderMedia) -> None:
        """To the engine of an edge address, at ``node`` or over the mesh."""
        way = 0.001 if action.address == node.address else LATENCY
        engine = self.engines[action.address]

        def arrived() -> None:
            reply = engine.take(action.order)
            if action.ref:
                back = 2.0 if engine.fault == "silent" else way
                self.after(back, lambda: node.handle(MediaDone(action.ref, reply)))

        self.after(way, arrived)

    def over_mesh(self, flow: Flow, data: bytes) -> bool:
        for node in self.nodes.values():
            if node.address == flow.address and node.partition.has(flow):
                return node.alive and node.transmit(flow, data)
        return False

    def process(self, edge: str, flow: Flow) -> Node:
        """The process of ``edge`` that gets what comes in on ``flow``."""
        worker = self.nodes[edge].partition.of(flow)
        return self.nodes[f"{edge}/{worker}" if worker else edge]

    def owner(self, edge: str, boot: str, flow: Flow) -> Node | None:
        """The process whose transaction a message belongs to: the one that has its flow, if ``boot`` doesn't say."""
        if not boot:
            return self.process(edge, flow) if edge in self.nodes else None
        return next((node for node in self.nodes.values() if (node.edge, node.boot) == (edge, boot)), None)
