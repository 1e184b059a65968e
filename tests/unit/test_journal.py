"""The journal: killed, cut short, with a full disk, with bad sectors. What was said to be safe comes out again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.control.journal import _APART, BATCH, SEGMENT, Journal, JournalError, Segments, decode, encode
from edge.control.sealing import Sealing

ROOT = Path(__file__).parent.parent.parent
KEY = bytes(range(32))


def report(number: int, size: int = 0) -> bytes:
    return json.dumps({"number": number, "pad": "x" * size}).encode()


def numbers(reports) -> list[int]:
    return [json.loads(item)["number"] for item in reports]


def on_disk(directory: Path) -> list[int]:
    sealing = Sealing(KEY)
    read = [decode(path.read_bytes(), int(path.stem), sealing) for path in sorted(directory.glob("*.sealed"))]
    return [number for reports, _ in read for number in numbers(reports)]


class Plane:
    """A control plane that takes reports, or doesn't."""

    def __init__(self, takes: bool = True) -> None:
        self.takes = takes
        self.hates: set[int] = set()
        self.got: list[int] = []

    async def deliver(self, reports: list[bytes]) -> str:
        if not self.takes:
            return "later"
        assert len(reports) <= BATCH
        if set(numbers(reports)) & self.hates:
            return "refused"
        self.got += numbers(reports)
        return "taken"


async def until(found, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not found():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def run(directory, plane, work):
    async def main():
        journal = Journal(directory, KEY, plane.deliver)
        task = asyncio.create_task(journal.run())
        try:
            await work(journal)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await journal.close()

    asyncio.run(main())


def test_whoever_reports_all_the_time_is_delivered_in_groups_and_a_single_one_at_once(tmp_path):
    plane = Plane()
    deliveries = []
    deliver = plane.deliver

    async def timed(reports):
        deliveries.append((asyncio.get_running_loop().time(), numbers(reports)))
        return await deliver(reports)

    plane.deliver = timed

    async def work(journal):
        begun = asyncio.get_running_loop().time()
        journal.add(report(0))
        await until(lambda: deliveries)
        assert deliveries[0][0] - begun < _APART
        for number in range(1, 4):
            journal.add(report(number))
            await asyncio.sleep(0.06)  # longer than a delivery waits for company
        await until(lambda: plane.got == [0, 1, 2, 3])
        assert [found for _, found in deliveries] == [[0], [1, 2, 3]]
        assert deliveries[1][0] - deliveries[0][0] >= _APART
        for number in range(4, 4 + BATCH):
            journal.add(report(number))
        await until(lambda: len(deliveries) == 3)
        assert deliveries[2][0] - deliveries[1][0] < _APART  # it is full

    run(tmp_path, plane, work)


def test_reports_are_safe_then_delivered_then_gone(tmp_path):
    plane = Plane()
    safe = []

    async def work(journal):
        for number in range(250):
            journal.add(report(number), lambda number=number: safe.append(number))
        await until(lambda: len(plane.got) == 250)
        await until(lambda: set(safe) == set(range(250)))
        assert len(journal) == 0

    run(tmp_path, plane, work)
    assert plane.got == list(range(250))


def test_while_nobody_takes_them_they_wait_and_survive_a_restart(tmp_path):
    plane = Plane(takes=False)
    safe = []

    async def work(journal):
        for number in range(30):
            journal.add(report(number, 8000), lambda number=number: safe.append(number))
        await until(lambda: len(safe) == 30)
        assert len(list(tmp_path.glob("*.sealed"))) >= 1

    run(tmp_path, plane, work)
    assert on_disk(tmp_path) == list(range(30))
    plane.takes = True

    async def again(journal):
        assert len(journal) == 30
        journal.add(report(30))
        await until(lambda: len(plane.got) == 31)

    run(tmp_path, plane, again)
    assert plane.got == list(range(31))


def test_a_report_that_is_never_taken_keeps_nothing_waiting(tmp_path):
    plane = Plane()
    plane.hates = {3, 57}

    async def work(journal):
        for number in range(60):
            journal.add(report(number))
        await until(lambda: len(journal) == 0)
        assert journal.counters["refused"] == 2

    run(tmp_path, plane, work)
    assert plane.got == [number for number in range(60) if number not in plane.hates]


def test_delivered_segments_are_removed(tmp_path):
    plane = Plane()

    async def work(journal):
        for turn in range(6):
            for number in range(10):
                journal.add(report(10 * turn + number, SEGMENT // 8))
            await until(lambda turn=turn: len(plane.got) == 10 * turn + 10)
        await asyncio.sleep(0.1)

    run(tmp_path, plane, work)
    assert len(on_disk(tmp_path)) <= 20


@settings(max_examples=200, deadline=None)
@given(
    synced=st.integers(0, 8),
    unsynced=st.integers(0, 8),
    keep=st.integers(0, 2000),
    noise=st.binary(max_size=40),
)
def test_a_power_cut_loses_only_what_was_not_synced(tmp_path_factory, synced, unsynced, keep, noise):
    """What was written after the last sync may be missing, cut anywhere, or be rubbish."""
    directory = tmp_path_factory.mktemp("journal")
    segments = Segments(directory, KEY)
    for number in range(synced):
        segments.append(report(number))
    segments.sync()
    path = directory / f"{segments.number:010d}.sealed"
    size = path.stat().st_size
    for number in range(synced, synced + unsynced):
        segments.append(report(number))
    segments.close()
    data = path.read_bytes()
    path.write_bytes(data[: size + keep] + noise)
    again = Segments(directory, KEY)
    found = numbers([item for _, reports in again.left for item in reports])
    assert found[:synced] == list(range(synced))
    assert set(found) <= set(range(synced + unsynced))
    again.append(report(99))
    again.close()
    assert on_disk(directory)[-1] == 99


def test_a_bad_sector_costs_its_own_lines_only(tmp_path):
    sealing, data, begun = Sealing(KEY), bytearray(), []
    for number in range(20):
        begun.append(len(data))
        data += encode(report(number), 1, len(data), sealing)
    middle = begun[10] + 12
    data[middle : middle + 3] = b"\x00\xff\x00"
    reports, bad = decode(bytes(data), 1, sealing)
    assert numbers(reports) == [*range(10), *range(11, 20)]
    assert bad == 1


def test_a_full_disk_uses_the_reserve_then_memory_and_nothing_delivered_is_lost(tmp_path, monkeypatch):
    plane = Plane(takes=False)
    write = os.write
    room = 4000

    def full(descriptor, data):
        nonlocal room
        if (tmp_path / "ballast").exists() or room < len(data):
            raise OSError(28, "No space left on device")
        room -= len(data)
        return write(descriptor, data)

    safe = []

    async def work(journal):
        monkeypatch.setattr(os, "write", full)
        for number in range(10):
            journal.add(report(number, 600), lambda number=number: safe.append(number))
        await until(lambda: len(safe) == 4)  # what the reserve had room for
        await until(lambda: journal.counters["failed_writes"] == 6)
        await until(lambda: not journal.possible)
        plane.takes = True
        await until(lambda: len(plane.got) == 10)
        assert journal.possible
        assert set(safe) == set(range(10))
        monkeypatch.undo()

    run(tmp_path, plane, work)


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass


def test_a_real_full_disk(tmp_path):
    """A tmpfs of 5 MB, filled up: the reserve carries the journal on."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        segments = Segments(disk / "state", KEY)
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            os.posix_fallocate(filler.fileno(), 0, 5_000_000)
        fill(disk / "filler")
        for number in range(100):
            segments.append(report(number))
        segments.sync()
        assert not (disk / "state" / "ballast").exists()
        assert on_disk(disk / "state") == list(range(100))
        (disk / "filler").unlink()
        segments.roll(segments.number)
        assert (disk / "state" / "ballast").stat().st_size > 0
        segments.close()
    finally:
        subprocess.run(["umount", disk], check=False)


def test_a_directory_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="state_dir"):
        Segments(tmp_path / "file", KEY)


_WRITER = """
import asyncio, json, sys
from pathlib import Path
from edge.control.journal import Journal

async def main():
    async def deliver(reports):
        return "later"
    journal = Journal(Path(sys.argv[1]), bytes(range(32)), deliver)
    first = int(sys.argv[2])
    for number in range(first, first + 100_000):
        safe = asyncio.Event()
        journal.add(json.dumps({"number": number}).encode(), safe.set)
        await safe.wait()
        print(number, flush=True)

asyncio.run(main())
"""


def test_kill_9_at_random_points(tmp_path):
    """Each number that a writer has said is safe comes out, after ten kills."""
    said: list[int] = []
    rng = random.Random(7)
    for turn in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(turn * 1_000_000)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 200)):
            said.append(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        said += [int(line) for line in rest.splitlines() if line]
    assert set(said) <= set(on_disk(tmp_path))
