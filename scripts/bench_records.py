"""``scripts/bench records``: what `abuse top` and SQL take over many calls, from Parquet on this machine's disk."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lambdas.cli import tables

_CALLS = """
    SELECT hash(n)::VARCHAR AS id, 't' || n % 50 AS tenant, 'call' || n AS call_id,
        'u' || hash(n) % 50000 || '@example.com' AS caller, '+44' || hash(n * 7) % 10000000000 AS called,
        'u' || hash(n) % 50000 || '@example.com' AS account,
        now()::TIMESTAMP - to_seconds(n % 2592000) AS started,
        (hash(n * 3) % 600)::DOUBLE AS seconds, CASE WHEN hash(n * 5) % 4 = 0 THEN 486 ELSE 200 END AS status,
        CASE WHEN status = 200 THEN started END AS answered, '+44' || hash(n * 7) % 10000000000 AS number
    FROM range(getvariable('number')) source(n)
"""


def records(say: Callable[..., None], number: int) -> None:
    """``number`` calls of 50,000 accounts in a month."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "calls").mkdir()
        connection = tables.connect()
        connection.execute("SET VARIABLE number = ?", [number])
        connection.sql(_CALLS).write_parquet(f"{scratch}/calls/all.parquet", compression="zstd")
        size = (Path(scratch) / "calls" / "all.parquet").stat().st_size
        say("size of the calls", size / 2**20, "MiB", calls=number)
        for by in ("destinations", "minutes", "failed-calls"):
            begun = time.monotonic()
            tables.top(tables.open_tables(scratch), by, 30 * 86_400, 6).limit(20).fetchall()
            say(f"abuse top by {by}", time.monotonic() - begun, "s", calls=number)
        begun = time.monotonic()
        query = "SELECT tenant, date_trunc('day', started) AS day, count(*), sum(seconds) FROM calls GROUP BY ALL"
        tables.open_tables(scratch).sql(query).fetchall()
        say("calls and minutes by tenant and day", time.monotonic() - begun, "s", calls=number)
