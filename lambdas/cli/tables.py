"""Records as tables for DuckDB: from the API's items, or from an export of DynamoDB's table of calls. The SQL is in
``sql/``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb

TABLES = ("calls", "legs", "events", "attempts")
_SQL = Path(__file__).parent / "sql"
_TOP = "top_"
TOP = tuple(sorted(path.stem.removeprefix(_TOP) for path in _SQL.glob(f"{_TOP}*.sql")))
"""What ``top`` can order by."""


def connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def open_tables(data: str) -> duckdb.DuckDBPyConnection:
    """A connection with a view for each table that is in ``data``, a folder or an ``s3://`` prefix."""
    connection = connect()
    for table in TABLES:
        if "://" in data or list(Path(data).glob(f"{table}/*.parquet")):
            connection.read_parquet(f"{data.rstrip('/')}/{table}/*.parquet").create_view(table)
    return connection


def top(connection: duckdb.DuckDBPyConnection, by: str, seconds: int, digits: int) -> duckdb.DuckDBPyRelation:
    """Who stands out in the last ``seconds``; a destination is a number's first ``digits`` characters."""
    connection.execute("SET VARIABLE since = now()::TIMESTAMP - to_seconds(?)", [seconds])
    connection.execute("SET VARIABLE digits = ?", [digits])
    return connection.sql(_sql(_TOP + by))


def write(table: str, items: Iterable[dict[str, Any]], data: Path, name: str) -> int:
    """The API's ``items`` as ``data/table/name.parquet`` (and the legs of calls beside them); how many there are."""
    number = 0
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        for item in items:
            file.write(json.dumps(item) + "\n")
            number += 1
        if not number and any(path.stem != name for path in (data / table).glob("*.parquet")):
            for one in _parts(table):  # files of other days say what the columns are
                _path(data, one, name).unlink(missing_ok=True)
            return 0
        file.flush()
        connection = connect()
        connection.execute("SET VARIABLE files = ?", [file.name])
        connection.execute(_sql(f"api_{table}"))
        _store(connection, table, data, name)
    return number


def convert(files: str, data: Path) -> dict[str, int]:
    """An export of the table of calls in DynamoDB's JSON (``files`` is a pattern) as Parquet; how many there are."""
    connection = connect()
    connection.execute("SET VARIABLE files = ?", [files])
    connection.execute(_sql("export"))
    return {table: _store(connection, table, data, "export") for table in ("calls", "events", "attempts")}


def _store(connection: duckdb.DuckDBPyConnection, table: str, data: Path, name: str) -> int:
    number = 0
    for one in _parts(table):
        path = _path(data, one, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        found = connection.sql(_sql(f"shape_{one}"))
        found.write_parquet(str(path), compression="zstd")
        number = int(found.shape[0])
    return number


def _parts(table: str) -> tuple[str, ...]:
    """The tables that one is kept as, itself last."""
    return ("legs", "calls") if table == "calls" else (table,)


def _path(data: Path, table: str, name: str) -> Path:
    return data / table / f"{name}.parquet"


def _sql(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text(encoding="utf-8")
