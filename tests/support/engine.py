"""A media engine in a World: it rewrites descriptions as rtpengine does, counts what it has, and knows what it was told,
as the holder of an edge address does."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from edge.media.ng import Answer, Command
from edge.media.orders import (
    ANSWER,
    DESCRIBE,
    DROP_BRANCH,
    ENGINE,
    OFFER,
    RESTORE,
    UNKNOWN,
    MediaOrder,
    MediaReply,
    SideQuality,
)
from edge.media.sessions import Sessions

_ports = itertools.count(30_000, 2)


@dataclass
class Session:
    """``branches`` have two ports each; ``answered`` maps pairs of tags to their call's names; ``offered`` are (who has
    offered, by which branch), of which ``waits`` are without an answer so far."""

    branches: dict[str, tuple[int, int]] = field(default_factory=dict)
    answered: dict[frozenset[str], str] = field(default_factory=dict)
    waits: set[tuple[str, str]] = field(default_factory=set)
    offered: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class FakeEngine:
    """``orders`` are all DESCRIBEs, with the role that they had in the end; ``fault``: what it says instead of
    describing ("silent": nothing, until whoever runs the core gives up); ``transparent``: descriptions come back as they
    were; ``astray``: answers to nothing; ``restores``: offers that were refused; ``quality`` is what it tells of calls that have ended."""

    address: str
    sessions: dict[str, Session] = field(default_factory=dict)
    orders: list[MediaOrder] = field(default_factory=list)
    drops: list[MediaOrder] = field(default_factory=list)
    restores: list[MediaOrder] = field(default_factory=list)
    fault: str = ""
    transparent: bool = False
    astray: list[MediaOrder] = field(default_factory=list)
    quality: tuple[SideQuality, ...] = ()

    @property
    def ports(self) -> int:
        """In use."""
        return sum(2 * len(session.branches) for session in self.sessions.values())

    def take(self, order: MediaOrder) -> MediaReply:
        order = MediaOrder.unpack(order.pack())  # as the mesh would carry it
        if order.kind == RESTORE:
            self.restores.append(order)
            return MediaReply.unpack(MediaReply(None).pack())
        if order.kind != DESCRIBE:
            self._drop(order)
            return MediaReply.unpack(MediaReply(b"", quality=self.quality).pack())
        if self.fault:
            return MediaReply(None, ENGINE if self.fault == "silent" else self.fault)
        role = order.role or self._due(order)
        if role == ANSWER and order.key not in self.sessions:
            return MediaReply(None, UNKNOWN)
        session = self.sessions.setdefault(order.key, Session())
        if role == ANSWER and not _of(session.offered, order):
            self.astray.append(order)
            return MediaReply(None, UNKNOWN)
        self.orders.append(order._replace(role=role))
        ports = session.branches.get(order.branch) or next(iter(session.branches.values()), None)
        if order.branch and order.branch not in session.branches:
            ports = None
        if ports is None:
            assert role == OFFER, f"an answer on branch {order.branch!r}, of which nothing is known"
            ports = session.branches[order.branch] = (next(_ports), next(_ports))
        if role == OFFER:
            session.waits.add((order.by, order.branch))
            session.offered.add((order.by, order.branch))
        else:
            session.waits -= _of(session.waits, order)
        if order.leg:
            session.answered[frozenset((order.by, order.to))] = order.leg
        return MediaReply(self.relayed(order, ports[role == ANSWER]))

    def _due(self, order: MediaOrder) -> str:
        return ANSWER if _of(self.sessions.get(order.key, Session()).waits, order) else OFFER

    def relayed(self, order: MediaOrder, port: int) -> bytes:
        if self.transparent:
            return order.body
        lines = []
        for line in order.body.split(b"\r\n"):
            if line.startswith(b"c="):
                line = f"c=IN IP4 {self.address}".encode()
            elif line.startswith(b"m="):
                kind, _, profile, *formats = line.split()
                profile = order.for_.profile.encode() or profile
                line = b" ".join((kind, str(port).encode(), profile, *formats))
            lines.append(line)
        return b"\r\n".join(lines)

    def _drop(self, order: MediaOrder) -> None:
        self.drops.append(order)
        session = self.sessions.get(order.key)
        if session is None:
            return
        if order.kind == DROP_BRANCH:
            session.branches.pop(order.branch, None)
            return
        if order.by:
            session.answered.pop(frozenset((order.by, order.to)), None)
        if not (order.by and session.answered):
            del self.sessions[order.key]


def _of(offers: set[tuple[str, str]], order: MediaOrder) -> set[tuple[str, str]]:
    """Those that ``order`` may be an answer to: in a dialog no branch is named."""
    return {(by, branch) for by, branch in offers if by == order.to and order.branch in ("", branch)}


class HeldEngine(FakeEngine):
    """One whose orders a real holder of its address turns into commands (``Sessions``); ``calls`` are the engine's."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.held = Sessions(20_000, near=False)
        self.calls: dict[str, tuple[int, int]] = {}

    def take(self, order: MediaOrder) -> MediaReply:
        order = MediaOrder.unpack(order.pack())
        if order.kind == DESCRIBE and self.fault:
            return super().take(order)
        work = self.held.take(order, 1.0)
        reply = self.held.took(work, order, [self.told(command, order) for command in work.commands])
        if order.kind == RESTORE:
            self.restores.append(order)
        elif order.kind != DESCRIBE:
            self.drops.append(order)
        elif reply.body is None:
            self.astray.append(order)
        else:
            self.orders.append(order._replace(role=order.role or work.role))
        assert self.calls.keys() == {leg.call for leg in self.held}
        self.sessions = {leg.key: Session({leg.call: self.calls[leg.call]}) for leg in self.held}
        return reply

    def told(self, command: Command, order: MediaOrder) -> Answer:
        """As rtpengine answers it."""
        call = str(command["call-id"])
        if command["command"] == "delete":
            del self.calls[call]
            return {"result": "ok"}
        ports = self.calls.get(call)
        if ports is None:
            ports = self.calls[call] = (next(_ports), next(_ports))
        return {"result": "ok", "sdp": self.relayed(order, ports[command["command"] == ANSWER]).decode("latin-1")}
