"""Streams: who may have one, how many, and what they may keep unfinished.

Theory of operation. One class serves TCP, TLS and WebSockets: what a message is on a connection its ``Framer`` knows,
and TLS is the loop's.

A connection costs its maker next to nothing, and us a file, a buffer and a timer. So a stream is
*unproven* until ``StreamUser.proven`` says that its flow, or where it comes from, has shown who it is. Unproven streams
are few for each source (an IPv4 address, a /56 of IPv6), few in all, short-lived, and may neither send long headers nor
let answers pile up. Where there are too many of all sources the oldest goes, not the newcomer: who is honest has proven
himself within a second or so, and holding the table full means making all of it anew in that time.

A message begins with its first octet that isn't part of a keep-alive, and must be whole in time however its octets
drip in. All unfinished messages together have a bound in octets, past which the one begun first goes with its stream.

A stream counts from the moment that its connection was accepted. Until messages can pass, after the TLS handshake and
the WebSocket's, there are seconds only.

A stream by which somebody is registered stays, however long nothing is heard on it (``StreamUser.kept``). The kernel
sees to it that NATs keep it open, and that it ends if there is nobody any more (``keep_alive``). WebSockets are pinged
besides: browsers' scripts can't do it, and the proxies that they go through look at data only.

A stream ends in one of three ways. Cut off: at once, ``abort``. By the other side, whose FIN may come right behind its
last request: nobody is reached on it any more, but it still gets its answers. By ourselves on purpose, ``finish``: the
FIN is sent, and what was under way to us is still taken.

Whether a stream has been proven is asked when something comes in or goes out on it; once is enough. Those that we make
ourselves are proven. Nothing here costs a timer or a table entry for a message that comes in one piece.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, cast

from edge.sip.flow import Flow, source_of
from edge.sip.framing import Framer
from edge.sip.parser import MAX_MESSAGE
from edge.transport.handshakes import Handshakes
from edge.transport.server_trust import fault_of

PROBE_AFTER, PROBE_EVERY, PROBES = 45, 10, 3
"""Seconds of silence before the first of the kernel's keep-alives, seconds between those without an answer, and how
many of those."""
_RESPONSE = b"SIP/2.0 "
_CLASS, _PROVISIONAL = len(_RESPONSE), ord("1")  # the status's first digit

TLS_SHUTDOWN = 2.0
"""Seconds for the other side's close_notify."""
_NEVER = float("inf")
_LONGEST_REQUEST = 200.0  # seconds: an INVITE rings for up to Timer C

Note = Callable[[str, str, object], None]
"""Counts an event of a kind, and logs its text, in which ``%s`` is whom it is about. Texts may be left out of the log
where there are many."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Numbers of streams, octets, seconds."""

    streams: int = 20_000
    of_source: int = 10_000
    unproven: int = 4_000
    unproven_of_source: int = 50
    unproven_head: int = 8192
    unfinished: int = 64 * 1024 * 1024
    unproven_unfinished: int = 16 * 1024 * 1024
    unsent: int = 1024 * 1024
    unproven_unsent: int = 16 * 1024
    handshakes: int = 1_000
    handshakes_per_second: float = 400.0
    """Of those who have proven nothing."""
    handshake: float = 5.0
    """From the connection to the end of the TLS handshake and the WebSocket's."""
    message: float = 30.0
    """From a message's first octet to its last."""
    proof: float = 30.0
    """From the connection to what proves it."""
    idle: float = 900.0
    """Without an octet, where nobody is registered by it."""
    last_word: float = 10.0
    """For our answers, once the other side sends no more."""
    ping: float = 25.0
    """Between pings on a WebSocket; an answer has as long as that."""

    def shared(self, processes: int) -> StreamLimits:
        """Of one of so many processes: its share of what all sources have together."""
        return replace(
            self,
            streams=self.streams // processes,
            unproven=self.unproven // processes,
            unfinished=self.unfinished // processes,
            unproven_unfinished=self.unproven_unfinished // processes,
            handshakes=self.handshakes // processes,
            handshakes_per_second=self.handshakes_per_second / processes,
        )


class StreamUser(Protocol):
    """Who gets what comes in."""

    def message(self, flow: Flow, data: bytes) -> None: ...

    def closed(self, flow: Flow, why: str = "") -> None:
        """Nobody is reached on ``flow`` any more; ``why`` of one that couldn't be made. Told again if it gets something
        after that."""

    def kept(self, flow: Flow) -> bool:
        """Whether somebody is registered by this flow."""

    def may_answer(self, flow: Flow) -> bool:
        """Whether a keep-alive that came by UDP may be answered, if that is one more answer."""

    def proven(self, flow: Flow) -> bool:
        """Whether somebody on this flow, or at its source, has shown who he is."""


class Streams:
    """All streams of the edge addresses held here."""

    def __init__(self, user: StreamUser, note: Note, limits: StreamLimits) -> None:
        self.user = user
        self.note = note
        self.limits = limits
        self.handshakes: Handshakes[Stream] = Handshakes(
            limits.handshakes_per_second, limits.handshakes, self._end_handshake
        )
        self._by_flow: dict[Flow, Stream] = {}
        self._accepted = _Group()
        self._unproven = _Group()
        self._unfinished = _Parts(limits.unfinished)
        self._unproven_unfinished = _Parts(limits.unproven_unfinished)

    def get(self, flow: Flow) -> Stream | None:
        return self._by_flow.get(flow)

    def all(self) -> list[Stream]:
        return list(self._by_flow.values())

    def close(self) -> None:
        self.handshakes.close()
        for stream in self.all():
            stream.abort()

    def sizes(self) -> dict[str, int]:
        """How many there are."""
        return {"streams": len(self._by_flow), "unproven_streams": len(self._unproven)}

    def made(self, stream: Stream) -> None:
        """A stream of our own."""
        self._by_flow[stream.flow] = stream

    def admit(self, stream: Stream) -> bool:
        """Take a stream that somebody else has made; False if he has his share."""
        limits, source = self.limits, stream.source
        stream.proven = self.user.proven(stream.flow)
        if self._accepted.of(source) >= limits.of_source:
            return False
        if not stream.proven and self._unproven.of(source) >= limits.unproven_of_source:
            return False
        if len(self._by_flow) >= limits.streams and not self._displace():
            return False
        if not stream.proven:
            if len(self._unproven) >= limits.unproven:
                self._displace()
            self._unproven.add(stream)
        self._accepted.add(stream)
        self._by_flow[stream.flow] = stream
        return True

    def _displace(self) -> bool:
        """Make room; False if everybody here has proven himself."""
        oldest = self._unproven.oldest()
        if oldest is not None:
            oldest.end("streams_displaced", "too many streams: one of %s, the oldest that proves nothing, is closed")
        return oldest is not None

    @staticmethod
    def _end_handshake(stream: Stream) -> None:
        stream.end("streams_displaced", "too many TLS handshakes: the one begun first, of %s, is cut off")

    def prove(self, stream: Stream) -> None:
        """See whether an unproven stream is proven by now."""
        if self.user.proven(stream.flow):
            stream.proven = True
            self._unproven.discard(stream)
            self._unproven_unfinished.discard(stream)

    def unfinished(self, stream: Stream, octets: int) -> None:
        """``stream`` has so much of a message whose end hasn't come."""
        parts = self._unfinished if stream.proven else self._unproven_unfinished
        parts.put(stream, octets)
        while (oldest := parts.excess()) is not None:
            oldest.end("streams_unfinished", "too many unfinished messages: a stream of %s, the oldest, is closed")

    def finished(self, stream: Stream) -> None:
        self._unfinished.discard(stream)
        self._unproven_unfinished.discard(stream)

    def forget(self, stream: Stream) -> None:
        """It has ended, or is about to."""
        if self._by_flow.get(stream.flow) is stream:
            del self._by_flow[stream.flow]
        self._accepted.discard(stream)
        self._unproven.discard(stream)
        self.handshakes.over(stream)
        self.finished(stream)


class Stream(asyncio.Protocol):
    """One connection."""

    def __init__(self, streams: Streams, flow: Flow, framer: Framer, dialled: bool = False) -> None:
        """``dialled`` is one that we make."""
        self._streams = streams
        self._framer = framer
        self._transport: asyncio.Transport | None = None
        self._connection: socket.socket | None = None  # until it is being served
        self._opening: asyncio.Task[None] | None = None
        self._open = False  # whether messages pass
        self._closed = False
        now = asyncio.get_running_loop().time()
        self._heard = self._opened = now
        self._next_ping = now + streams.limits.ping * random.uniform(0.2, 1.0) if framer.pings else _NEVER  # noqa: S311
        self._pinged = 0.0  # when there was a ping that nothing has come after; 0: there is none
        self._begun = 0.0  # when the first octet of an unfinished message came; 0: there is none
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._deaf_since = 0.0  # when the other side's FIN came; 0: it may still send
        self._owed = self._awaited = 0  # requests to us, and from us, without a final response; about
        self._asked_at = 0.0  # when there was one last
        self._finished: asyncio.Future[None] | None = None
        self.flow = flow
        self.source = source_of(flow.host)
        self.fault = ""  # why it leads to nobody whom it was made to reach
        self.proven = self._dialled = dialled

    def accept(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        """Serve a connection that somebody has made to us, by TLS where there is a context; refuse it if he has his
        share."""
        if not self._streams.admit(self):
            self._streams.note("streams_refused", "no stream more for %s", self.source)
            connection.close()
            return
        if not self.proven:
            self._framer.max_head = self._streams.limits.unproven_head
        self._watch()
        self._connection = connection
        if context is None:
            self._start(None)
        else:
            self._streams.handshakes.begin(self, self.proven, partial(self._start, context))

    def _start(self, context: ssl.SSLContext | None) -> None:
        self._opening = asyncio.get_running_loop().create_task(self._serve(context))

    async def _serve(self, context: ssl.SSLContext | None) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        loop, limits = asyncio.get_running_loop(), self._streams.limits
        why = "the connection has ended"
        try:
            if context is None:
                await loop.connect_accepted_socket(lambda: self, connection)
            else:
                await loop.connect_accepted_socket(
                    lambda: self,
                    connection,
                    ssl=context,
                    ssl_handshake_timeout=limits.handshake,
                    ssl_shutdown_timeout=TLS_SHUTDOWN,
                )
        except OSError as error:
            why = str(getattr(error, "reason", None) or error.strerror or error)
        self._opening = None
        if self._transport is None and not self._closed:
            self._streams.note("tls_failures", "no TLS with %s", f"{self.source}: {why}")
            self.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's isn't a subclass
        if self._closed:
            transport.abort()
            return
        keep_alive(transport.get_extra_info("socket"))
        self._streams.handshakes.over(self)
        if self._dialled:
            if self.flow.server:
                self.fault = fault_of(transport.get_extra_info("peercert") or {}, self.flow.server)
            if self.fault:
                transport.abort()  # before anything is sent
                return
            self._streams.made(self)
            self._watch()
        self._open = self._framer.ready

    def send(self, data: bytes) -> bool:
        """False if it is closed, or nobody would answer."""
        transport = self._transport
        response = data.startswith(_RESPONSE)
        if transport is None or transport.is_closing() or self._finished or (self._deaf_since and not response):
            return False
        if not self._framer.ready:
            return False
        if not self.proven:
            self._prove()
        transport.write(self._framer.wrap(data))
        if transport.get_write_buffer_size() > self._most_unsent:
            self.end("streams_unread", "%s doesn't read what it is sent; its stream is closed")
        elif not response:
            self._ask(data, self._owed, self._awaited + 1)
        elif data[_CLASS] > _PROVISIONAL:
            self._owed = max(0, self._owed - 1)
            if self._deaf_since and not self._owed:
                transport.close()
        return True

    def _ask(self, request: bytes, owed: int, awaited: int) -> None:
        if not request.startswith(b"ACK "):
            self._owed, self._awaited = owed, awaited
            self._asked_at = asyncio.get_running_loop().time()

    def busy(self) -> bool:
        """Whether something is likely to be under way on it. Retransmitted responses, and requests that are never
        answered, are why that isn't certain."""
        waiting = self._owed > 0 or self._awaited > 0
        return waiting and asyncio.get_running_loop().time() < self._asked_at + _LONGEST_REQUEST

    @property
    def _most_unsent(self) -> int:
        return self._streams.limits.unsent if self.proven else self._streams.limits.unproven_unsent

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or self._closed:
            return
        if not self.proven:
            self._prove()
        now = asyncio.get_running_loop().time()
        framer = self._framer
        found = framer.feed(data)
        self._pinged = 0.0
        if found or not framer.pings:
            self._heard = now
        replies = framer.replies()
        if replies and transport.get_write_buffer_size() < self._most_unsent:  # else it doesn't read, and needs none
            transport.write(replies)
        self._open = self._open or framer.ready
        for message in found:
            if not message.startswith(_RESPONSE):
                self._ask(message, self._owed + 1, self._awaited)
            elif message[_CLASS] > _PROVISIONAL:
                self._awaited = max(0, self._awaited - 1)
            self._streams.user.message(self.flow, message)
        if framer.ended:
            self._ended(transport)
        elif framer.unfinished or self._begun:
            self._follow_unfinished(bool(found), framer.unfinished, now)

    def _ended(self, transport: asyncio.Transport) -> None:
        """The framer has: what is waiting is sent, and nothing more is read."""
        fault = self._framer.fault
        if fault is not None and not self._open:
            self._streams.note("upgrades_refused", "no WebSocket for %s", f"{self.source}: {fault}")
        elif fault is not None:
            self._streams.note("malformed", "closing a stream that isn't SIP, of %s", f"{self.source}: {fault}")
        transport.pause_reading()
        transport.close()
        self._streams.user.closed(self.flow)

    def eof_received(self) -> bool:
        """Whether it stays open for our answers. TLS and WebSockets can't be half open."""
        if self._finished or self._closed or self.flow.transport != "tcp":
            return False
        self._streams.user.closed(self.flow)
        if not self._owed:
            return False
        self._deaf_since = asyncio.get_running_loop().time()
        self._watch()
        return True

    def _prove(self) -> None:
        self._streams.prove(self)
        if self.proven:
            self._framer.max_head = MAX_MESSAGE

    def _follow_unfinished(self, other: bool, octets: int, now: float) -> None:
        """``other``: what was unfinished before isn't any more."""
        if other or not octets:
            self._begun = 0.0
            self._streams.finished(self)
        if octets:
            self._begun = self._begun or now
            if self._due > self._begun + self._streams.limits.message:
                self._watch()
            self._streams.unfinished(self, octets)

    def _watch(self) -> None:
        """One timer for each stream, moved on lazily instead of with every packet."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.proven:
            self._prove()
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._next_ping:
            self._ping(now)
        ends, kind, text = self._ends()
        if ends <= now:
            self.end(kind, text)
        else:
            self._due = min(ends, self._next_ping)
            self._timer = loop.call_later(self._due - now, self._watch)

    def _ping(self, now: float) -> None:
        """Spread, so that those who have come at one time aren't pinged at one."""
        self._next_ping = now + self._streams.limits.ping * random.uniform(0.9, 1.0)  # noqa: S311
        if self._transport is not None and self._framer.ready and not self._finished and not self._pinged:
            self._transport.write(self._framer.ping())
            self._pinged = now

    def _ends(self) -> tuple[float, str, str]:
        """When it ends unless something happens, what that is called, and why."""
        limits, kept = self._streams.limits, self._streams.user.kept(self.flow)
        heard = asyncio.get_running_loop().time() if kept else self._heard
        ends = [(heard + limits.idle, "streams_idle", "a stream of %s was silent for too long; closed")]
        if self._deaf_since:
            why = "what %s asked for wasn't answered in time after it had closed its stream"
            ends.append((self._deaf_since + limits.last_word, "streams_half_closed", why))
        if not self._open:
            why = "%s hasn't finished its handshake in time; closed"
            ends.append((self._opened + limits.handshake, "streams_unopened", why))
        if self._pinged:
            why = "a WebSocket of %s has answered no ping; closed"
            ends.append((self._pinged + limits.ping, "streams_silent", why))
        if self._begun:
            why = "a message of %s isn't whole in time; its stream is closed"
            ends.append((self._begun + limits.message, "streams_unfinished", why))
        if not self.proven:
            why = "a stream of %s has proven nothing in time; closed"
            ends.append((self._opened + limits.proof, "streams_unproven", why))
        return min(ends)

    def end(self, kind: str, text: str) -> None:
        """Close at once, and say so."""
        self._streams.note(kind, text, self.source)
        self.abort()

    def finish(self) -> asyncio.Future[None]:
        """Send what is waiting, and that nothing follows. Done once the other side has heard that and closed."""
        if self._finished is None:
            self._finished = asyncio.get_running_loop().create_future()
            transport = self._transport
            if transport is None or transport.is_closing():
                self.abort()
            elif goodbye := self._framer.close():
                transport.write(goodbye)
            elif transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()
            self._streams.user.closed(self.flow)
        return self._finished

    def abort(self) -> None:
        """Close at once. The user hears of it by ``closed``."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._streams.forget(self)
        if self._transport is not None:
            self._transport.abort()
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.close()
        self._gone()

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._streams.forget(self)
        if self._streams.get(self.flow) is None:  # else it has been made anew
            self._streams.user.closed(self.flow, self.fault)
        self._gone()

    def _gone(self) -> None:
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)


def link_local(peer: tuple[Any, ...]) -> bool:
    """Whether it is an IPv6 address of one wire only (RFC 4007 §6), at which another edge couldn't reach anybody."""
    return len(peer) > 2 and peer[3] != 0


def keep_alive(sock: socket.socket | None) -> None:
    """The kernel's probes keep the NAT's binding, and end the stream if nobody answers them; that costs the process
    nothing. RFC 5382 §5 asks NATs to keep an open connection for 2 h, but many forget it within 5 min, or one. Data
    that nobody acknowledges ends it after the same time."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    dead_after = PROBE_AFTER + PROBE_EVERY * PROBES
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, dead_after * 1000)


class _Group:
    """Streams, the oldest first, and how many each source has."""

    def __init__(self) -> None:
        self._streams: dict[Stream, None] = {}
        self._of: Counter[str] = Counter()

    def add(self, stream: Stream) -> None:
        self._streams[stream] = None
        self._of[stream.source] += 1

    def discard(self, stream: Stream) -> None:
        if stream in self._streams:
            del self._streams[stream]
            self._of[stream.source] -= 1
            if not self._of[stream.source]:
                del self._of[stream.source]

    def of(self, source: str) -> int:
        return self._of[source]

    def oldest(self) -> Stream | None:
        return next(iter(self._streams), None)

    def __len__(self) -> int:
        return len(self._streams)


class _Parts:
    """Octets of unfinished messages by stream, the one begun first first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._octets: dict[Stream, int] = {}
        self._total = 0

    def put(self, stream: Stream, octets: int) -> None:
        self._total += octets - self._octets.get(stream, 0)
        self._octets[stream] = octets

    def discard(self, stream: Stream) -> None:
        self._total -= self._octets.pop(stream, 0)

    def excess(self) -> Stream | None:
        """The first one, if there is more than there may be."""
        return next(iter(self._octets)) if self._total > self._most else None
