"""What the processes of one edge say to each other: frames over a socket pair that a worker inherits.

A worker is a process of the edge that isn't the first one, the holder. Both ends are the same program, and nobody else
has the socket, so frames are pickled. Events and actions of the core are taken apart before: compiled, their classes
can't be.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from edge.config import Config
from edge.control.heartbeat import News
from edge.proxy.stack import events
from edge.proxy.stack.events import Action, CoreEvent
from edge.sip.flow import Flow
from edge.sip.partition import Partition
from edge.transport.sockets import Listener

_HEAD = struct.Struct("!I")


class Begin(NamedTuple):
    """The first frame to a worker: who it is. ``sockets`` are the inherited ones, by their numbers."""

    config: Config
    partition: Partition
    boot: str
    sockets: list[tuple[Listener, int]]


class Parts(NamedTuple):
    """An event or an action, taken apart."""

    name: str
    fields: tuple[Any, ...]


class Handle(NamedTuple):
    """An event for a worker's core."""

    event: Parts


class Carry(NamedTuple):
    """An action of a worker's core that is the holder's to carry out."""

    action: Parts


class ForJournal(NamedTuple):
    """A report, as JSON; without ``ref`` nobody waits until it is safe."""

    report: bytes
    ref: str


class Handed(NamedTuple):
    """What came in at one process, and is for ``process``."""

    process: int
    flow: Flow
    data: bytes


class ForOwner(NamedTuple):
    """A response that came in at a worker, of a transaction of the edge's process ``boot``."""

    boot: str
    flow: Flow
    data: bytes


class Informed(NamedTuple):
    """What a heartbeat brought, and which addresses are served in which epochs. ``bans`` are all there are, None: as
    before."""

    news: News
    served: dict[str, int]
    bans: list[str] | None


class Recording(NamedTuple):
    """Whether reports can be written."""

    possible: bool


class Watch(NamedTuple):
    """Whether somebody watches the trace."""

    wanted: bool


class Line(NamedTuple):
    """A line of the trace."""

    line: dict[str, Any]


class Query(NamedTuple):
    """What does your core know: ``phones`` (AOR, tenant), or ``uses`` of limits (scopes)?"""

    ref: str
    what: str
    about: tuple[Any, ...]


class QueryAnswer(NamedTuple):
    """To the Query with this ``ref``; ``data`` is as a peer of the mesh gets it."""

    ref: str
    what: str
    data: bytes


class TellKept(NamedTuple):
    """What of yours has changed is to be kept: ForDisk follows."""


class ForDisk(NamedTuple):
    """Accounts' records and decisions that have changed since the last one, by name; empty ones are kept no more."""

    records: list[tuple[str, bytes]]
    routes: list[tuple[str, bytes]]


class Remember(NamedTuple):
    """From the disk: records and routes as they were kept. ``bindings``: these too, not the grants only."""

    records: list[tuple[str, bytes]]
    routes: list[tuple[str, bytes]]
    bindings: bool


class State(NamedTuple):
    """What metrics tell of a worker: counters, sizes, and its longest pauses in seconds, by kind."""

    counters: dict[str, int]
    sizes: dict[str, int]
    unanswered: int
    pauses: dict[str, float]


class EndWorker(NamedTuple):
    """End your streams, and yourself."""


LinkFrame = (
    Begin
    | Handle
    | Carry
    | ForJournal
    | Handed
    | ForOwner
    | Informed
    | Recording
    | Watch
    | Line
    | Query
    | QueryAnswer
    | TellKept
    | ForDisk
    | Remember
    | State
    | EndWorker
)


def apart(item: CoreEvent | Action) -> Parts:
    """What can be pickled whatever its class is."""
    kind = type(item)
    return Parts(kind.__name__, tuple(getattr(item, name) for name in kind.__match_args__))


def whole(parts: Parts) -> Any:
    """The event or action again."""
    return getattr(events, parts.name)(*parts.fields)


class WorkerLink(asyncio.Protocol):
    """One end. ``take`` gets each frame, ``ended`` is called once nobody is at the other end."""

    def __init__(self, take: Callable[[Any], None], ended: Callable[[], None]) -> None:
        self._take = take
        self._ended = ended
        self._unread = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, frame: LinkFrame) -> None:
        """Nothing happens if nobody is there any more."""
        if self._transport is not None:
            data = pickle.dumps(frame, pickle.HIGHEST_PROTOCOL)
            self._transport.write(_HEAD.pack(len(data)) + data)

    def data_received(self, data: bytes) -> None:
        buffer = self._unread + data if self._unread else data
        at = 0
        while len(buffer) - at >= _HEAD.size:
            (size,) = _HEAD.unpack_from(buffer, at)
            end = at + _HEAD.size + size
            if len(buffer) < end:
                break
            frame = pickle.loads(buffer[at + _HEAD.size : end])  # noqa: S301 - from ourselves
            at = end
            self._take(frame)
        self._unread = buffer[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ended()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
