"""The journal: reports that the control plane must get, on this edge's disk until it has them.

A report is safe once it is synced to the disk or delivered, whichever comes first. Reports are lines in numbered
segments; a segment is removed when all of it has been delivered, so after a restart some reports go out again, which
changes nothing. They say who has called whom, so each is sealed, for its segment and the octet where its line begins,
and written in base64: a line stands by itself. One that can't be read (a write torn by a power cut, a bad sector, moved
by somebody) is counted and left out; its neighbours aren't.

Once a segment was ``NUMBER.journal``, with lines of ``CRC-32 in hexadecimal, space, JSON``. Those are delivered still.
The sealed ones have a name of their own, so that an edge of then, after a roll-back, leaves them where they are for the
next one that can read them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import os
import random
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from edge.control.sealing import Sealing

log = logging.getLogger(__name__)

BATCH = 100  # reports in one delivery
SEGMENT = 64 * 1024  # octets, past which a new segment is begun
BALLAST = 4 * 1024 * 1024
"""Octets kept in reserve: given back when the disk is full, so that calls under way can still be recorded."""
_SEALED, _PLAIN = ".sealed", ".journal"  # what the segments' names end in
_GATHER = 0.05  # seconds that a delivery waits for company
_APART = 0.25
"""Seconds from one delivery to the next, unless that is full: each takes more of the processor than all its reports."""
_FIRST_RETRY, _LAST_RETRY = 1.0, 15.0

DeliveryOutcome = Literal["taken", "later", "refused"]
"""The control plane has the reports; it can't be had just now; or it will never take this delivery as it is."""
Deliver = Callable[[list[bytes]], Awaitable[DeliveryOutcome]]
Safe = Callable[[], None]


class JournalError(Exception):
    """The journal's directory can't be used; the text says why."""


def encode(report: bytes, number: int, offset: int, sealing: Sealing) -> bytes:
    """The line for a report that begins at ``offset`` of segment ``number``."""
    return base64.b64encode(sealing.seal(report, _place(number, offset))) + b"\n"


def decode(data: bytes, number: int, sealing: Sealing) -> tuple[list[bytes], int]:
    """The reports in a segment, and how many lines can't be read. The last one may be torn."""
    reports: list[bytes] = []
    bad = offset = 0
    for line in data.split(b"\n"):
        if line:
            report = _opened(line, _place(number, offset), sealing)
            if report is None:
                bad += 1
            else:
                reports.append(report)
        offset += len(line) + 1
    return reports, bad


def _place(number: int, offset: int) -> str:
    return f"journal {number} {offset}"


def _opened(line: bytes, place: str, sealing: Sealing) -> bytes | None:
    try:
        return sealing.open(base64.b64decode(line, validate=True), place)
    except binascii.Error:
        return None


def decode_plain(data: bytes) -> tuple[list[bytes], int]:
    """The same of a segment that isn't sealed."""
    lines = [line for line in data.split(b"\n") if line]
    good = [line[9:] for line in lines if line[9:] and line[:9] == b"%08x " % zlib.crc32(line[9:])]
    return good, len(lines) - len(good)


class Segments:
    """The files. Everything here is quick but ``sync``."""

    def __init__(self, directory: Path, key: bytes) -> None:
        """``key`` has 32 octets."""
        self._directory = directory
        self._sealing = Sealing(key)
        self._ballast = directory / "ballast"
        self.unreadable = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            there = [path for path in directory.iterdir() if path.suffix in (_PLAIN, _SEALED)]
            self._segments = sorted((int(path.stem), path) for path in there)
            self.left = [(number, self._read(number, path)) for number, path in self._segments]
            self._begin()
        except (OSError, ValueError) as error:
            raise JournalError(f"state_dir: {directory} can't be used: {error}") from error
        self._reserve()

    def _read(self, number: int, path: Path) -> list[bytes]:
        data = path.read_bytes()
        reports, bad = decode_plain(data) if path.suffix == _PLAIN else decode(data, number, self._sealing)
        if bad:
            self.unreadable += bad
            log.error("the journal's segment %s has %d lines that can't be read", path, bad)
        return reports

    def _begin(self) -> None:
        number = self._segments[-1][0] + 1 if self._segments else 1
        path = self._directory / f"{number:010d}{_SEALED}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError:
            self._ballast.unlink()  # or raises, if there is none
            self._file = os.open(path, flags, 0o600)
        self._segments.append((number, path))
        self.number = number
        self._size = 0

    def _reserve(self) -> None:
        """Take back the space that a full disk has had."""
        if self._ballast.exists():
            return
        with contextlib.suppress(OSError), self._ballast.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, BALLAST)
            except OSError:
                self._ballast.unlink()

    def append(self, report: bytes) -> int:
        """Write a report; the segment it is in. Raises OSError where even the reserve is used up."""
        line = encode(report, self.number, self._size, self._sealing)
        try:
            self._write(line)
        except OSError as error:
            if not self._ballast.exists():
                raise
            log.error("the journal can't be written (%s): using the reserve", error.strerror)
            self._ballast.unlink()
            self._write(encode(report, self.number, self._size, self._sealing))
        return self.number

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(28, "No space left on device")
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)  # nothing half-written stays
            self._size = os.fstat(self._file).st_size  # but where that fails, too: the next line begins after it
            raise
        self._size += len(line)

    def sync(self) -> None:
        """What was appended before is on the disk when this returns."""
        os.fdatasync(self._file)

    def roll(self, undelivered: int | None) -> None:
        """Remove the segments before ``undelivered`` (None: all of them), and begin a new one if this one is full."""
        if self._size > SEGMENT:
            old = self._file
            os.fdatasync(old)
            self._begin()
            os.close(old)
        for number, path in self._segments[:-1]:
            if undelivered is not None and number >= undelivered:
                break
            path.unlink(missing_ok=True)
            self._segments.remove((number, path))
        self._reserve()

    def close(self) -> None:
        os.close(self._file)


class Journal:
    """Keeps reports until ``deliver`` has taken them."""

    def __init__(self, directory: Path, key: bytes, deliver: Deliver) -> None:
        """``key`` has 32 octets. Raises JournalError."""
        self._segments = Segments(directory, key)
        self._deliver = deliver
        self._waiting: deque[tuple[int, bytes, Safe | None]] = deque(
            (number, report, None) for number, reports in self._segments.left for report in reports
        )
        self._unsynced: list[Safe] = []
        self._sync: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        if self._waiting:
            self._work.set()
        self._delivers = True
        self._writes = True
        self.counters = {"unreadable": self._segments.unreadable, "delivered": 0, "refused": 0, "failed_writes": 0}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def possible(self) -> bool:
        """False while a new report would be in memory only, with nobody to deliver it to."""
        return self._writes or self._delivers

    def add(self, report: bytes, safe: Safe | None = None) -> None:
        """Take a report; ``safe`` is called, once or twice, when it can't be lost any more."""
        try:
            number = self._segments.append(report)
            self._writes = True
        except OSError as error:
            if self._writes:
                log.error("the journal can't be written: %s; reports are in memory until delivered", error.strerror)
            self._writes = False
            self.counters["failed_writes"] += 1
            number = self._segments.number
            self._waiting.append((number, report, safe))
        else:
            self._waiting.append((number, report, safe))
            if safe is not None:
                self._unsynced.append(safe)
                if self._sync is None:
                    self._sync = asyncio.get_running_loop().create_task(self._group_commit())
        self._work.set()

    async def _group_commit(self) -> None:
        """One sync for all that came during the last one."""
        try:
            while self._unsynced:
                group, self._unsynced = self._unsynced, []
                try:
                    await asyncio.to_thread(self._segments.sync)
                except OSError as error:
                    log.error("the journal can't be synced: %s", error.strerror)
                    self._writes = False
                    continue  # delivery will make them safe
                for safe in group:
                    safe()
        finally:
            self._sync = None

    async def run(self) -> None:
        """Deliver for ever, in order."""
        retry = next_at = 0.0
        most = BATCH
        while True:
            await self._work.wait()
            await asyncio.sleep(_GATHER)
            if len(self._waiting) < most:
                await asyncio.sleep(next_at - time.monotonic())
            batch = [self._waiting[index] for index in range(min(most, len(self._waiting)))]
            if not batch:
                self._work.clear()
                continue
            next_at = time.monotonic() + _APART
            try:
                outcome = await self._deliver([report for _, report, _ in batch])
            except Exception:
                log.exception("a fault in delivering reports")
                outcome = "later"
            if outcome == "refused" and len(batch) > 1:
                most = 1  # one of them: each by itself, until the bad one has shown
                continue
            if outcome == "refused":
                log.error("the control plane refuses a report, which is dropped: %s", batch[0][1].decode())
                self.counters["refused"] += 1
            if outcome != "later":
                most = BATCH if outcome == "refused" else min(BATCH, 2 * most)
                retry = 0.0
                self._delivers = True
                self.counters["delivered"] += len(batch)
                for _ in batch:
                    self._waiting.popleft()
                for _, _, safe in batch:
                    if safe is not None:
                        safe()
                if not self._sync:
                    try:
                        self._segments.roll(self._waiting[0][0] if self._waiting else None)
                    except OSError as error:
                        log.error("the journal can't be tidied up: %s", error.strerror)
            else:
                self._delivers = False
                # Full jitter: edges that lost the control plane together don't come back together.
                retry = min(_LAST_RETRY, retry * 2 or _FIRST_RETRY)
                await asyncio.sleep(random.uniform(0.1, retry))  # noqa: S311

    async def delivered(self, seconds: float) -> None:
        """Wait until nothing waits, at most for ``seconds``."""
        end = time.monotonic() + seconds
        while self._waiting and time.monotonic() < end:  # noqa: ASYNC110 - asked once in a process's life
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        if self._sync is not None:
            await self._sync
        self._segments.close()
