"""The workers of this edge, as its first process, the holder, has them: started, told, and heard.

Theory of operation. docs/design.md ("Several processes, one edge") says which state is whose. A worker carries out by
itself what concerns its sockets and its questions; every other action of its core comes here, and is carried out as one
of the holder's own, with answers going back to it. What peers or the control plane tell is told to all. With one
process there is nobody here, and nothing costs anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from edge.config import Config
from edge.control.heartbeat import News
from edge.control.journal import Journal
from edge.control.store import RECORD, StateStore, record_kinds
from edge.proxy.core import Core
from edge.proxy.stack.call_counts import ScopeUse, together
from edge.proxy.stack.events import (
    Action,
    AwakeThere,
    ClosedThere,
    CoreEvent,
    CountCalls,
    Counted,
    Fed,
    Find,
    Found,
    OverThere,
    RefreshedThere,
    RegisteredThere,
    Send,
    SendFailed,
    SummaryThere,
    TellAwake,
    TellClosed,
    TellOver,
    TellRefreshed,
    TellRegistered,
    TellSummary,
    Written,
)
from edge.runtime.inbound import Inbound
from edge.runtime.peer_search import PeerSearch, read_phones, read_uses, write_phones, write_uses
from edge.runtime.trace import Trace
from edge.runtime.worker_link import (
    Begin,
    Carry,
    EndWorker,
    ForDisk,
    ForJournal,
    ForOwner,
    Handed,
    Handle,
    Informed,
    Line,
    LinkFrame,
    Query,
    QueryAnswer,
    Recording,
    Remember,
    State,
    TellKept,
    Watch,
    WorkerLink,
    apart,
    whole,
)
from edge.sip.flow import Flow
from edge.sip.partition import Partition
from edge.transport.sockets import Sockets
from lambdas.contract import Target

log = logging.getLogger(__name__)

_ROUTE, _PROVIDER = "route", "provider"  # kinds of what is on the disk
_PAGE = 500
_EVERY = 0.5  # seconds between looks at what workers have to know
_REST = 1.0  # seconds before a worker is started again that has ended within as many
_MOST_SENT = 1000  # messages for peers of which nothing has been heard
_KEEPING = 5.0  # seconds for a worker to tell what is to be kept
_LAST_WORDS = 3.0  # seconds for workers to end


class _Worker:
    """``link`` is None while there is no process. ``records`` and ``routes`` are still to be kept on the disk; ``kept``
    is set once it has told all that have changed."""

    def __init__(self) -> None:
        self.link: WorkerLink | None = None
        self.boot = ""
        self.pid = 0
        self.state = State({}, {}, 0, {})
        self.kept = asyncio.Event()
        self.records: list[tuple[str, bytes]] = []
        self.routes: list[tuple[str, bytes]] = []


class Workers:
    """``phones`` and ``uses`` are the searches at peers and other processes."""

    def __init__(
        self,
        config: Config,
        core: Core,
        post: Callable[[CoreEvent], None],
        sockets: Sockets,
        store: StateStore,
        journal: Journal,
        trace: Trace,
        reread: Callable[[], None],
    ) -> None:
        """``reread`` has the control plane tell again where all phones are."""
        self._config = config
        self._core = core
        self._post = post
        self._sockets = sockets
        self._store = store
        self._journal = journal
        self._trace = trace
        self._reread = reread
        self._workers = [_Worker() for _ in range(1, config.workers)]
        self.phones = PeerSearch[list[Target]](
            lambda ref, found: self._found(ref, Found(ref, [one for each in found for one in each]))
        )
        self.uses = PeerSearch[list[ScopeUse]](lambda ref, found: self._found(ref, Counted(ref, found)))
        self._askers: dict[str, tuple[int, Callable[[Any], None]]] = {}
        self._informed: Informed | None = None
        self._bans: list[str] = []
        self._counted: Counter[str] = Counter()
        self._fed: list[Fed] = []
        self._carry_out: Callable[[Action], None] = lambda action: None
        self._tell_peers: Callable[[Action], None] = lambda action: None
        self._message: Callable[[Flow, bytes], None] = lambda flow, data: None
        self._deliver = self._message
        self._lost: OrderedDict[str, Callable[[], None]] = OrderedDict()

    def start(
        self,
        carry_out: Callable[[Action], None],
        tell_peers: Callable[[Action], None],
        inbound: Inbound,
    ) -> None:
        """``carry_out`` and ``tell_peers`` are the holder's own."""
        self._carry_out, self._tell_peers = carry_out, tell_peers
        self._message, self._deliver = inbound.message, inbound.deliver

    # What the holder has for them

    def _send(self, worker: int, frame: LinkFrame) -> bool:
        link = self._workers[worker - 1].link if 0 < worker <= len(self._workers) else None
        if link is not None:
            link.send(frame)
        return link is not None

    def _send_all(self, frame: LinkFrame, besides: int = 0) -> None:
        for worker in range(1, len(self._workers) + 1):
            if worker != besides:
                self._send(worker, frame)

    def tell(self, event: CoreEvent, besides: int = 0) -> None:
        """Have the cores of all workers handle ``event``."""
        if self._workers:
            self._send_all(Handle(apart(event)), besides)

    def tell_all(self, event: CoreEvent) -> None:
        """The same, and the holder's own."""
        self._post(event)
        self.tell(event)

    def fed(self, event: Fed) -> None:
        """What the change feed brought, for everybody. Who is started in a worker's place begins with what is on the
        disk, so it hears again what isn't yet."""
        if self._workers:
            self._fed.append(event)
        self.tell_all(event)

    async def keep(self) -> bool:
        """Have on the disk what has changed at workers; whether everything that they have heard of by now is."""
        heard = len(self._fed)
        for worker in self._workers:
            worker.kept.clear()
        self._send_all(TellKept())
        for at, worker in enumerate(self._workers, 1):
            try:
                async with asyncio.timeout(_KEEPING if worker.link is not None else 0):
                    await worker.kept.wait()
            except TimeoutError:
                return False
            for kind, values in ((f"{RECORD}.{at}", worker.records), ("route", worker.routes)):
                taken = len(values)
                if taken and not await asyncio.to_thread(self._store.keep, kind, values[:taken]):
                    return False
                del values[:taken]
        del self._fed[:heard]
        return True

    def told_here(self, action: Action) -> None:
        """What the holder's core has others told, peers aside."""
        if self._workers:
            self.tell(there(action))

    def informed(self, news: News, served: dict[str, int]) -> None:
        """A heartbeat was answered, or other addresses are served."""
        bans = news.reply.bans
        self._bans = self._bans if bans is None else bans
        self._informed = Informed(news, served, bans)
        self._send_all(self._informed)

    def remember(self, kind: str, rows: list[tuple[str, bytes]], bindings: bool) -> None:
        """The holder has taken back ``rows`` of the disk. They are for all: a part may have been another one's."""
        if self._workers and kind != _PROVIDER:
            self._send_all(_from_disk(kind, rows, bindings))

    def hand(self, process: int, flow: Flow, data: bytes) -> bool:
        """To the process that a message is for; False if that has just died."""
        if process:
            return self._send(process, Handed(process, flow, data))
        self._message(flow, data)
        return True

    def hand_to_owner(self, boot: str, flow: Flow, data: bytes) -> bool:
        """To the process that has made a transaction; False if it is gone."""
        if self._workers and self._core.stack.transactions.owns_boot(boot):
            self._deliver(flow, data)
            return True
        process = self._process_of(boot)
        return process > 0 and self._send(process, Handed(process, flow, data))

    def send_for_peer(self, flow: Flow, data: bytes, lost: Callable[[], None]) -> None:
        """The same for a peer; ``lost`` is called if it can't be."""
        ref = f"peer {secrets.token_hex(8)}"
        self._lost[ref] = lost
        if len(self._lost) > _MOST_SENT:
            self._lost.popitem(last=False)
        if not self.send(Send(flow, data, ref)):
            self.failed(ref)

    def send(self, action: Send) -> bool:
        """Have it sent on another process's stream; False if that is gone. A failure there comes by ``failed``."""
        return self._send(self._core.stack.partition.of(action.flow), Handle(apart(action)))

    def failed(self, ref: str) -> None:
        """What was to be sent with ``ref``, by whichever process, is lost."""
        lost = self._lost.pop(ref, None)
        process = self._process_of(ref.partition(".")[2].partition(".")[0])
        if lost is not None:
            lost()
        elif process > 0:
            self.tell_one(process, SendFailed(ref))
        else:
            self._post(SendFailed(ref))

    def tell_one(self, worker: int, event: CoreEvent) -> None:
        self._send(worker, Handle(apart(event)))

    def _process_of(self, boot: str) -> int:
        return next((at for at, worker in enumerate(self._workers, 1) if worker.boot == boot), 0)

    # Searches

    def search(self, ref: str, what: str, about: tuple[Any, ...]) -> int:
        """Ask every process besides the one that searches; how many were asked."""
        if not self._workers:
            return 0
        asker = self._askers[ref][0] if ref in self._askers else 0
        asked = [at for at, worker in enumerate(self._workers, 1) if at != asker and worker.link is not None]
        for worker in asked:
            self._send(worker, Query(ref, what, about))
        if asker:
            asyncio.get_running_loop().call_soon(self._answered, ref, what, self._own(what, about))
        return len(asked) + bool(asker)

    def _own(self, what: str, about: tuple[Any, ...]) -> bytes:
        return answer_of(self._core, what, about)

    def gather(self, what: str, about: tuple[Any, ...], answer: Callable[[bytes], None]) -> None:
        """What this edge knows, for a peer that asks."""
        own = self._own(what, about)
        if not self._workers:
            answer(own)
            return
        ref = f"peer {secrets.token_hex(8)}"

        def done(event: Found | Counted) -> None:
            if isinstance(event, Found):
                answer(write_phones(event.targets))
            else:
                answer(write_uses([together(uses) for uses in zip(*event.uses, strict=True)]))

        self._askers[ref] = 0, done
        search = self.phones if what == "phones" else self.uses
        search.ask(ref, 1 + self.search(ref, what, about))
        asyncio.get_running_loop().call_soon(self._answered, ref, what, own)

    def _answered(self, ref: str, what: str, data: bytes) -> None:
        if what == "phones":
            self.phones.answered(ref, read_phones(data))
        else:
            self.uses.answered(ref, read_uses(data))

    def _found(self, ref: str, event: Found | Counted) -> None:
        _, done = self._askers.pop(ref, (0, self._post))
        done(event)

    # What they have for the holder

    def _take(self, worker: int, frame: LinkFrame) -> None:
        match frame:
            case Handed(process, flow, data):
                self.hand(process, flow, data)
            case ForOwner(boot, flow, data):
                if not self.hand_to_owner(boot, flow, data):
                    self._core.stack.counters["ownerless_responses"] += 1
            case ForJournal(report, ref):
                self._journal.add(report, partial(self.tell_one, worker, Written(ref)) if ref else None)
            case Carry(action):
                self._carry(worker, whole(action))
            case QueryAnswer(ref, what, data):
                self._answered(ref, what, data)
            case ForDisk(records, routes):
                self._workers[worker - 1].records += records
                self._workers[worker - 1].routes += routes
                self._workers[worker - 1].kept.set()
            case State():
                self._workers[worker - 1].state = frame
            case Line(line):
                self._trace.show(line)

    def _carry(self, worker: int, action: Action | SendFailed) -> None:
        match action:
            case SendFailed(ref):
                self.failed(ref)
            case Find(ask) | CountCalls(ask):
                self._askers[ask] = worker, partial(self.tell_one, worker)
                self._carry_out(action)
            case TellOver() | TellRefreshed() | TellSummary() | TellAwake() | TellClosed() | TellRegistered():
                event = there(action)
                self._post(event)
                self.tell(event, besides=worker)
                self._tell_peers(action)
            case _:
                self._carry_out(action)

    # Metrics

    @property
    def pids(self) -> list[int]:
        """The workers' process ids, 0 for one that is being started."""
        return [worker.pid for worker in self._workers]

    @property
    def unanswered(self) -> int:
        """Requests at workers that have no final response yet."""
        return sum(worker.state.unanswered for worker in self._workers)

    def counters(self) -> Counter[str]:
        """What happened at workers, those that have died included."""
        return sum((Counter(worker.state.counters) for worker in self._workers), Counter(self._counted))

    def sizes(self) -> Counter[str]:
        """How many there are at workers."""
        return sum((Counter(worker.state.sizes) for worker in self._workers), Counter())

    def longest(self, kind: str) -> float:
        """Of the pauses of ``kind`` at workers, in seconds."""
        return max((worker.state.pauses.get(kind, 0.0) for worker in self._workers), default=0.0)

    # Their lives

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for worker in range(1, len(self._workers) + 1):
                group.create_task(self._live(worker))
            group.create_task(self._look())

    async def _look(self) -> None:
        """What has no event of its own."""
        recording, watched = True, False
        while self._workers:
            await asyncio.sleep(_EVERY)
            if recording != self._journal.possible:
                recording = self._journal.possible
                self._send_all(Recording(recording))
            if watched != self._trace.wanted:
                watched = self._trace.wanted
                self._send_all(Watch(watched))

    async def _live(self, worker: int) -> None:
        """Start it, and again whenever it ends."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            status = await self._run(worker)
            log.warning("worker %d has ended (%s): starting it again", worker, status)
            self._core.stack.counters["workers_ended"] += 1
            self._reread()
            if loop.time() - begun < _REST:
                await asyncio.sleep(_REST)

    async def _run(self, at: int) -> int:
        """One life of a worker; its exit status."""
        worker, loop = self._workers[at - 1], asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        inherited = self._sockets.for_others[at - 1]
        with theirs:
            numbers = [theirs.fileno(), *(sock.fileno() for _, sock in inherited)]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "edge.runtime.worker", str(theirs.fileno()), str(os.getpid()), pass_fds=numbers
            )
        ended = asyncio.Event()
        _, link = await loop.create_connection(lambda: WorkerLink(partial(self._take, at), ended.set), sock=ours)
        boot = secrets.token_hex(4)
        sockets = [(listener, sock.fileno()) for listener, sock in inherited]
        link.send(Begin(self._config, Partition(at, self._config.workers), boot, sockets))
        if self._informed is not None:
            link.send(self._informed._replace(bans=self._bans))
            await self.recall(link)
            link.send(self._informed._replace(bans=self._bans))
            for event in self._fed:
                link.send(Handle(apart(event)))
        link.send(Recording(self._journal.possible))
        link.send(Watch(self._trace.wanted))
        worker.link, worker.boot, worker.pid = link, boot, process.pid
        try:
            await ended.wait()
            return await process.wait()
        finally:
            worker.link, worker.boot, worker.pid = None, "", 0
            self._counted += Counter(worker.state.counters)
            worker.state = State({}, {}, 0, {})
            link.send(EndWorker())
            with contextlib.suppress(TimeoutError, ProcessLookupError):
                async with asyncio.timeout(_LAST_WORDS):
                    await process.wait()
            if process.returncode is None:
                process.kill()
            link.close()

    def leftover(self) -> list[tuple[str, list[str]]]:
        """Records of processes that there aren't any more, by their kinds: names."""
        kinds = record_kinds()[1 + len(self._workers) :]
        found = [(kind, [name for name, _ in self._store.load(kind)]) for kind in kinds]
        return [(kind, names) for kind, names in found if names]

    async def recall(self, link: WorkerLink) -> None:
        """What is on the disk, page by page: nobody else is to wait for it."""
        for kind in (*record_kinds(), _ROUTE):
            after, more = "", True
            while more:
                rows, after = await asyncio.to_thread(self._store.page, kind, after, _PAGE)
                link.send(_from_disk(kind, rows, bindings=True))
                more = bool(after)


def _from_disk(kind: str, rows: list[tuple[str, bytes]], bindings: bool) -> Remember:
    return Remember([], rows, bindings) if kind == _ROUTE else Remember(rows, [], bindings)


def answer_of(core: Core, what: str, about: tuple[Any, ...]) -> bytes:
    """What a process knows: phones of (AOR, tenant), or what is used of (scopes, now)."""
    if what == "phones":
        return write_phones(core.phones_here(*about))
    return write_uses(core.used_here(*about))


def there(action: Action) -> CoreEvent:
    """What another process hears of it."""
    match action:
        case TellOver(call):
            return OverThere(call)
        case TellRefreshed():
            return RefreshedThere(*action)
        case TellSummary():
            return SummaryThere(*action)
        case TellAwake(phone):
            return AwakeThere(phone)
        case TellClosed(flow, aors):
            return ClosedThere(flow, aors)
        case TellRegistered(aor, grant, bindings):
            return RegisteredThere(aor, grant, bindings)
    raise AssertionError(f"{type(action).__name__} is for nobody else")
