"""What an edge must report says who has called whom: on its disk nobody else reads it, or moves it about."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from edge.control.journal import Journal, Segments

KEY, OTHER = bytes(range(32)), bytes(32)
SECRET = "alice@example.com"


def report(number: int) -> bytes:
    return json.dumps({"kind": "answered", "number": number, "caller": SECRET, "called": "+442079460000"}).encode()


def written(directory: Path, count: int) -> Path:
    """The segment with ``count`` reports."""
    segments = Segments(directory, KEY)
    for number in range(count):
        segments.append(report(number))
    segments.sync()
    segments.close()
    return directory / f"{segments.number:010d}.sealed"


def left(directory: Path, key: bytes = KEY) -> tuple[list[int], int]:
    """Which reports an edge finds that starts there, and how many lines it can't read."""
    segments = Segments(directory, key)
    segments.close()
    return [json.loads(one)["number"] for _, reports in segments.left for one in reports], segments.unreadable


def test_nothing_of_a_report_is_in_clear(tmp_path):
    async def run() -> None:
        async def nobody(_: list[bytes]) -> str:
            return "later"

        journal = Journal(tmp_path, KEY, nobody)
        safe = asyncio.Event()
        journal.add(report(1), safe.set)
        await asyncio.wait_for(safe.wait(), 5)
        await journal.close()

    asyncio.run(run())
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for word in (SECRET, "alice", "442079460000", "answered"):
        assert word.encode() not in on_disk
    assert {path.stat().st_mode & 0o077 for path in tmp_path.glob("*.sealed")} == {0}
    assert left(tmp_path) == ([1], 0)


def test_another_key_opens_nothing(tmp_path):
    written(tmp_path, 3)
    assert left(tmp_path, OTHER) == ([], 3)
    assert left(tmp_path) == ([0, 1, 2], 0)


def test_a_line_counts_where_it_was_written_only(tmp_path):
    """Neither twice, nor in another's place, nor in another segment."""
    segment = written(tmp_path, 3)
    first, second, third = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(second + first + third + first)
    assert left(tmp_path) == ([2], 3)
    segment.write_bytes(first + second + third)
    segment.rename(segment.with_name("0000000007.sealed"))
    assert left(tmp_path) == ([], 3)


@pytest.mark.parametrize("torn", [b"", b"QUJD", b"\xff\x00\n", b"x" * 100 + b"\n", b"QUJDRA==\n"])
def test_what_a_power_cut_leaves_at_the_end_costs_nothing_before_it(tmp_path, torn):
    segment = written(tmp_path, 3)
    whole = segment.read_bytes()
    *_, last = whole.splitlines(keepends=True)
    segment.write_bytes(whole + torn)
    assert left(tmp_path) == ([0, 1, 2], 1 if torn else 0)
    segment.write_bytes(whole[: -len(last) // 2] + torn)
    assert left(tmp_path) == ([0, 1], 1)
