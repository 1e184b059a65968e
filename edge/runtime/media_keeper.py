"""Keeps what the engines of this edge's addresses save: in memory, sealed on the disk, and at two peers; and has it
ready where an address comes.

Theory of operation. What was saved in one epoch of an address is older than what was saved in a later one. Whoever gets
an address asks the peers which sessions they have of it (``gather``), and goes on from those of the highest epoch: its
own, if nobody has had the address since, copies that it has, or theirs. An engine that runs already, since only the
edge's process was started anew, goes on if its sessions are the newest; it is asked to save all of them, since nobody
was there to be told what has changed. SRTP goes on only from a packet index that isn't old (``saved_session``), so
where there is such a session all are saved every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge.control.store import StateStore
from edge.media.copies import Copies, pack, unpack
from edge.media.copying import Copying, Due
from edge.media.store import SessionStore
from edge.mesh.frames import SessionCopied, SessionsLeft, SessionsTold, SessionsWanted
from edge.mesh.peers import Mesh
from edge.runtime.media_store_server import MediaStoreServer

log = logging.getLogger(__name__)

_ASKING = 0.4  # seconds for peers to say what they have
_TRIES = 20  # starts of an engine that restores nothing, before it goes on without
_SAVING = 1.0  # seconds for an engine to save all
_SAVE_EVERY = 15.0  # seconds between savings of SRTP's indexes
_EVERY = 1.0  # seconds between writes to the disk
_AT_ONCE = 50  # sessions told in one turn of the loop
_DISK = "media"
_DISK_EPOCH = "media-epoch"
_CLI_HOST = "127.0.0.1"


class _Held(NamedTuple):
    """The sessions of an address that is here, or was (``here`` is False) when the process before this one ended.
    ``cli`` is a port of its engine's CLI, which has it save all; 0 as long as it hasn't said that it serves; ``tries``
    is how often it was started in vain."""

    epoch: int
    store: SessionStore
    here: bool
    cli: int = 0
    tries: int = 0


class MediaKeeper:
    """``gather`` before an address's engine is started, ``restored`` once it serves, ``lost`` when the address is
    gone."""

    def __init__(self, state: Path, disk: StateStore, mesh: Mesh, counters: Counter[str]) -> None:
        self._disk = disk
        self._mesh = mesh
        self._counters = counters
        self._held: dict[str, _Held] = {}
        self._stores: dict[str, SessionStore] = {}
        self._copies = Copies()
        self._copying = Copying()
        self._server = MediaStoreServer(state, self._stores, self._engine_said)
        self._unwritten: dict[tuple[str, str], None] = {}
        self._telling: asyncio.TimerHandle | None = None
        self._overtaken: set[str] = set()
        self._asked: dict[str, dict[str, asyncio.Future[None]]] = {}

    async def open(self) -> None:
        """Load what is on the disk, and listen for engines. Raises OSError."""
        epochs = {address: int(data) for address, data in self._disk.load(_DISK_EPOCH)}
        saved: dict[str, dict[str, bytes]] = {address: {} for address in epochs}
        for place, data in self._disk.load(_DISK):
            address, _, name = place.partition(" ")
            with contextlib.suppress(ValueError, KeyError):
                saved[address][name] = unpack(data)
        for address, epoch in epochs.items():
            self._hold(address, _Held(epoch, SessionStore(saved[address]), here=False))
        await self._server.open()

    def close(self) -> None:
        """What was saved last is written."""
        self._write(list(self._unwritten))
        if self._telling is not None:
            self._telling.cancel()
        self._server.close()

    def redis(self, address: str) -> str:
        """The setting ``redis`` of the address's engine."""
        return self._server.redis(address)

    def _hold(self, address: str, held: _Held) -> None:
        self._held[address] = held
        self._stores[address] = held.store

    # An address comes and goes

    async def gather(self, address: str, epoch: int) -> bool:
        """``address`` is here in ``epoch``: find the newest of its sessions. Whether an engine that runs already may go
        on: else what it has is older."""
        self._overtaken.discard(address)
        await self._ask(address)
        held = self._held.get(address)
        known = self._copies.epoch(address)
        goes_on = held is not None and held.epoch >= known
        if held is not None and goes_on:
            store = held.store
        else:
            store = SessionStore(dict(self._unpacked(address)))
            self._forget(address)
            log.info("%s comes with %d media sessions, of epoch %d", address, len(store), known)
        self._copies.left(address)
        self._hold(address, _Held(epoch, store, here=True))
        self._unwritten.update(dict.fromkeys((address, name) for name in store.saved()))
        self._disk.keep(_DISK_EPOCH, [(address, str(epoch).encode())])
        self._links()
        return goes_on

    async def _ask(self, address: str) -> None:
        """Have every peer tell what it has."""
        loop = asyncio.get_running_loop()
        asked = self._asked[address] = {}
        for peer in self._mesh.connected():
            if self._mesh.tell(peer, SessionsWanted(address)):
                asked[peer] = loop.create_future()
        if asked:
            await asyncio.wait(list(asked.values()), timeout=_ASKING)
        del self._asked[address]

    def _unpacked(self, address: str) -> Iterator[tuple[str, bytes]]:
        for name, data in self._copies.packed(address).items():
            try:
                yield name, unpack(data)
            except ValueError as error:
                self._counters["unreadable_media_copies"] += 1
                log.error("a session of %s that was copied here can't be read: %s", address, error)

    async def restored(self, address: str, cli: int, adopted: bool) -> bool:
        """The engine serves, and its CLI is at port ``cli``; ``adopted``: it has run before. False if it has restored
        nothing of what there is, since its address isn't there yet: then it has to be started anew."""
        held = self._held.get(address)
        if held is None:
            return True
        self._held[address] = held._replace(cli=cli, tries=held.tries + 1)
        if adopted:
            await self.save_all(address)
            return True
        refused = held.store.refused
        if refused and len(refused) == len(held.store) and held.tries < _TRIES:
            self._counters["media_engine_early"] += 1
            log.warning("the media engine of %s has restored nothing; starting it again", address)
            return False
        lost = held.store.drop_refused()
        self._held[address] = held._replace(cli=cli, tries=0)
        if lost:
            self._counters["media_sessions_lost"] += lost
            log.error("%d media sessions of %s couldn't be restored", lost, address)
            self._engine_said(address)
        return True

    def renew(self, address: str, epoch: int) -> bool:
        """The address stays, or is here again; its epoch may be another one by now. False if somebody else has had it
        since it was gathered."""
        if address in self._overtaken:
            return False
        held = self._held.get(address)
        if held is None or not held.here or held.epoch == epoch:
            return True
        self._held[address] = held._replace(epoch=epoch)
        self._disk.keep(_DISK_EPOCH, [(address, str(epoch).encode())])
        for peer in self._copying.told(address):
            self._copying.tell(peer, address, held.store.saved())
        self._tell_soon()
        return True

    def lost(self, address: str) -> None:
        """The address isn't here any more. Whoever has it may still ask for its sessions."""
        held = self._held.pop(address, None)
        if held is None:
            return
        del self._stores[address]
        self._forget(address)
        self._disk.keep(_DISK_EPOCH, [(address, b"")])
        self._copies.copied(address, held.epoch, "", b"")
        for name, saved in held.store.saved().items():
            self._copies.copied(address, held.epoch, name, pack(saved))
        self._copies.superseded(address, held.epoch + 1, time.monotonic())
        self._links()

    def _forget(self, address: str) -> None:
        """On the disk."""
        names = [place for place, _ in self._disk.load(_DISK) if place.startswith(f"{address} ")]
        self._disk.keep(_DISK, [(name, b"") for name in names])
        for key in [key for key in self._unwritten if key[0] == address]:
            del self._unwritten[key]

    async def hand(self, address: str, peer: str) -> None:
        """Tell ``peer``, which is to take the address, all as it is this moment."""
        held = self._held.get(address)
        if held is None:
            return
        await self.save_all(address)
        self._copying.tell(peer, address, held.store.saved())
        while due := self._copying.take_due(_AT_ONCE):
            self._send(due)
            await asyncio.sleep(0)

    # Engines

    def _engine_said(self, address: str) -> None:
        held = self._held.get(address)
        changed = held.store.take_changed() if held is not None else []
        for change in changed:
            self._unwritten[(address, change.name)] = None
            self._copying.changed(address, change.name)
        if changed:
            self._tell_soon()

    async def save_all(self, address: str) -> None:
        """Have the engine save all that it has, as it does where a standby becomes active; what it doesn't save then is
        over."""
        held = self._held.get(address)
        if held is None or not held.cli:
            return
        held.store.expect_all()
        try:
            async with asyncio.timeout(_SAVING):
                reader, writer = await asyncio.open_connection(_CLI_HOST, held.cli)
                writer.write(b"active\n")
                said = await reader.read()
                writer.close()
        except (OSError, TimeoutError) as error:
            self._counters["media_engine_silent"] += 1
            log.warning("the media engine of %s doesn't save its sessions: %s", address, error or "time-out")
            return
        if b"Ok" in said:
            held.store.drop_unseen()
        self._engine_said(address)

    # Peers

    def links_changed(self) -> None:
        """A link to a peer has come up or ended."""
        self._links()

    def _links(self) -> None:
        names = {address: held.store.saved().keys() for address, held in self._held.items() if held.here}
        for peer, address in self._copying.linked(self._mesh.connected(), self._mesh.near(), names):
            self._mesh.tell(peer, SessionsLeft(address))
        self._tell_soon()

    def _tell_soon(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(0, self._tell)

    def _tell(self) -> None:
        """Send what is due, a part of it in each turn of the loop."""
        self._telling = None
        due = self._copying.take_due(_AT_ONCE)
        self._send(due)
        if due:
            self._tell_soon()

    def _send(self, due: list[Due]) -> None:
        for peer, address, name in due:
            held = self._held.get(address)
            if held is not None:
                saved = held.store.get(name)
                self._mesh.tell(peer, SessionCopied(address, held.epoch, name, pack(saved) if saved else b""))
                self._counters["media_copies"] += 1

    def copied(self, frame: SessionCopied) -> None:
        """A peer tells of a session."""
        self._copies.copied(frame.address, frame.epoch, frame.name, frame.data)

    def left(self, address: str) -> None:
        """A peer tells others from now on."""
        self._copies.left(address)

    def wanted(self, address: str) -> Iterator[SessionCopied | SessionsTold]:
        """A peer has got ``address``, and asks what is known of its sessions here."""
        held = self._held.get(address)
        if held is not None:
            epoch, packed = held.epoch, {name: pack(saved) for name, saved in held.store.saved().items()}
        else:
            epoch, packed = self._copies.epoch(address), self._copies.packed(address)
        for name, data in packed.items():
            yield SessionCopied(address, epoch, name, data)
        yield SessionsTold(address, epoch)

    def told(self, peer: str, frame: SessionsTold) -> None:
        """That was all that ``peer`` has of an address; it knows of no session in that epoch where none came."""
        address, epoch = frame.address, frame.epoch
        if epoch > self._copies.epoch(address):
            self._copies.copied(address, epoch, "", b"")
        answered = self._asked.get(address, {}).get(peer)
        if answered is not None and not answered.done():
            answered.set_result(None)

    def announced(self, address: str, epoch: int) -> None:
        """A peer holds the address."""
        held = self._held.get(address)
        if held is not None and held.epoch < epoch:
            self._overtaken.add(address)
            self.lost(address)
        self._copies.superseded(address, epoch, time.monotonic())

    # What runs

    async def run(self) -> None:
        saved_at = time.monotonic()
        while True:
            await asyncio.sleep(_EVERY)
            self._copies.prune(time.monotonic())
            places = list(self._unwritten)
            if places:
                self._unwritten.clear()
                if not await asyncio.to_thread(self._write, places):
                    self._unwritten.update(dict.fromkeys(places))
            if time.monotonic() - saved_at >= _SAVE_EVERY:
                saved_at = time.monotonic()
                for address in [address for address, held in self._held.items() if held.store.may_encrypt]:
                    await self.save_all(address)

    def _write(self, places: list[tuple[str, str]]) -> bool:
        values = []
        for address, name in places:
            held = self._held.get(address)
            saved = held.store.get(name) if held is not None else b""
            values.append((f"{address} {name}", pack(saved) if saved else b""))
        return self._disk.keep(_DISK, values)

    def sizes(self) -> dict[str, int]:
        """How many sessions are kept: of addresses held here, and copies of others'."""
        return {
            "media_sessions_kept": sum(len(held.store) for held in self._held.values() if held.here),
            "media_sessions_copied_here": len(self._copies),
        }
