"""What an edge keeps on its disk for a restart in the dark. Values are encrypted with a key made from the edge's own
key, since they hold the fleet's keys and password-equivalent hashes."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path

from edge.control.sealing import Sealing

log = logging.getLogger(__name__)


RECORD = "record"
"""The kind of accounts' records; of the edge's other processes with their numbers."""


def record_kinds() -> list[str]:
    """Under which records may be kept, whatever the number of processes was."""
    return [RECORD, *(f"{RECORD}.{process}" for process in range(1, 16))]


class StateStore:
    """Values by kind and name. Losing it loses nothing but the time until the control plane answers again, so what
    can't be read is put aside, and a full disk is logged."""

    def __init__(self, path: Path, key: bytes) -> None:
        """``key`` has 32 octets."""
        self._path = path
        self._sealing = Sealing(key)
        self._failing = False
        self._lock = threading.Lock()  # several parts write, each in a thread of its own
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._database = self._open()
        except sqlite3.DatabaseError as error:
            aside = path.with_suffix(".unreadable")
            log.error("%s can't be read (%s): put aside as %s", path, error, aside)
            os.replace(path, aside)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS kept "
                "(kind TEXT, name TEXT, value BLOB, PRIMARY KEY (kind, name)) WITHOUT ROWID"
            )
            if database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("it is damaged")
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database

    def load(self, kind: str) -> list[tuple[str, bytes]]:
        """Everything of a kind; what another key has sealed is left out."""
        return self._opened(kind, self._rows("SELECT name, value FROM kept WHERE kind = ?", kind))

    def page(self, kind: str, after: str, most: int) -> tuple[list[tuple[str, bytes]], str]:
        """Up to ``most`` of a kind, by name, beginning behind ``after``; and what the next page begins behind, "" if
        there is none."""
        rows = self._rows(
            "SELECT name, value FROM kept WHERE kind = ? AND name > ? ORDER BY name LIMIT ?", kind, after, most
        )
        return self._opened(kind, rows), rows[-1][0] if len(rows) == most else ""

    def _rows(self, query: str, *values: str | int) -> list[tuple[str, object]]:
        try:
            with self._lock:
                return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            log.error("%s can't be read: %s", self._path, error)
            return []

    def _opened(self, kind: str, rows: Iterable[tuple[str, object]]) -> list[tuple[str, bytes]]:
        found = []
        for name, value in rows:
            opened = self._sealing.open(value, f"{kind} {name}") if isinstance(value, bytes) else None
            if opened is None:
                log.warning("%s %s was kept under another key", kind, name)
                continue
            found.append((name, opened))
        return found

    def forget(self, kind: str) -> None:
        """Everything of a kind."""
        try:
            with self._lock:
                self._database.execute("DELETE FROM kept WHERE kind = ?", (kind,))
        except sqlite3.Error as error:
            log.error("%s can't be written: %s", self._path, error)

    def keep(self, kind: str, values: Iterable[tuple[str, bytes]]) -> bool:
        """Replace values; an empty one is removed. All or none; False if the disk doesn't take it."""
        with self._lock:
            return self._keep(kind, values)

    def _keep(self, kind: str, values: Iterable[tuple[str, bytes]]) -> bool:
        try:
            self._database.execute("BEGIN")
            for name, value in values:
                if value:
                    sealed = self._sealing.seal(value, f"{kind} {name}")
                    self._database.execute("REPLACE INTO kept VALUES (?, ?, ?)", (kind, name, sealed))
                else:
                    self._database.execute("DELETE FROM kept WHERE kind = ? AND name = ?", (kind, name))
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            if not self._failing:
                log.error("%s can't be written: %s", self._path, error)
            self._failing = True
            return False
        self._failing = False
        return True

    def close(self) -> None:
        self._database.close()
