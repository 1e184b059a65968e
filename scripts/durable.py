"""The tables of a service on one machine: MiniStack, with what it keeps in memory on the disk, too.

    python -m scripts.durable --file tables.sqlite --host 127.0.0.1 --port 4566

Theory of operation. MiniStack (1.5.33) is a DynamoDB and an SQS in memory. Its handlers run one after the other on one
loop, without a pause, and change items by two functions only; so what a request has changed is known when its handler
returns, and is written in one transaction of SQLite (``synchronous=FULL``: on the disk) before the answer leaves. What
was acknowledged is there after a kill or a loss of power, and a request that wasn't is there whole or not at all: as a
client of DynamoDB expects it. The thread that deletes expired items is kept out meanwhile, and its deletions are
written with the next request's.

Where the disk doesn't take it, the process ends, without an answer: what is in memory isn't what is on the disk any
more. Of queues, the messages are kept, not who is just working on one: after a start it is handed out again, as a queue
may at any time. Streams and their readers aren't kept; nothing here uses them.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Answer = tuple[int, dict[str, str], bytes | str]
Handler = Callable[[str, str, dict[str, str], bytes, dict[str, Any]], Awaitable[Answer]]

_READS = frozenset(
    (
        "GetItem",
        "Query",
        "Scan",
        "BatchGetItem",
        "TransactGetItems",
        "DescribeTable",
        "ListTables",
        "DescribeTimeToLive",
    )
)
_WRITES = frozenset(("PutItem", "DeleteItem", "UpdateItem", "BatchWriteItem", "TransactWriteItems"))
"""Whatever isn't one of these changes tables themselves."""
_QUEUE_READS = frozenset(("ReceiveMessage", "GetQueueUrl", "GetQueueAttributes", "ListQueues", "ListQueueTags"))
_QUEUE_WRITES = frozenset(("SendMessage", "SendMessageBatch", "DeleteMessage", "DeleteMessageBatch"))
_FAILED = 74  # sysexits.h: EX_IOERR


class Disk:
    """``items`` by table (its ARN) and key, ``messages`` by queue and number, and ``shapes`` of both without these."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error."""
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        for name, columns in (("items", "place, hash, range"), ("messages", "place, hash"), ("shapes", "place")):
            self._database.execute(
                f"CREATE TABLE IF NOT EXISTS {name} ({columns}, value, PRIMARY KEY ({columns})) WITHOUT ROWID"
            )
        if self._database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError(f"{path} is damaged")

    def close(self) -> None:
        self._database.close()

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        return self._database.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608 - our own names

    def shape(self, place: str) -> str | None:
        """What was kept of tables or queues themselves; None if nothing was."""
        found = self._database.execute("SELECT value FROM shapes WHERE place = ?", (place,)).fetchone()
        return found[0] if found is not None else None

    def write(self, changes: list[tuple[str, tuple[str, ...], str | None]], dropped: list[tuple[str, str]]) -> None:
        """Each change is the name of a table, a key and a value (None: it goes); each of ``dropped`` a table and a
        place of which nothing stays. All or nothing. Raises sqlite3.Error."""
        self._database.execute("BEGIN")
        for name, place in dropped:
            self._database.execute(f"DELETE FROM {name} WHERE place = ?", (place,))  # noqa: S608
        for name, key, value in changes:
            if value is None:
                where = " AND ".join(f"{column} = ?" for column in ("place", "hash", "range")[: len(key)])
                self._database.execute(f"DELETE FROM {name} WHERE {where}", key)  # noqa: S608
            else:
                marks = ", ".join("?" * (len(key) + 1))
                self._database.execute(f"REPLACE INTO {name} VALUES ({marks})", (*key, value))  # noqa: S608
        self._database.execute("COMMIT")


class DurableTables:
    """MiniStack's DynamoDB, which is changed in place: one in a process."""

    def __init__(self, disk: Disk) -> None:
        from ministack.core import persistence
        from ministack.services import dynamodb

        self._disk = disk
        self._dynamodb: Any = dynamodb
        self._default: Callable[[Any], Any] = persistence._json_default
        self._hook: Callable[[Any], Any] = persistence._json_object_hook
        self._changed: dict[tuple[str, str, str], Any] = {}
        self._set, self._remove, self._replaced = dynamodb._set_item, dynamodb._remove_item, dynamodb._items_replaced
        self._lock = threading.RLock()  # the module's own is taken in handlers as well
        self._restore()
        dynamodb._lock = self._lock
        dynamodb._set_item, dynamodb._remove_item = self._set_item, self._remove_item
        dynamodb._items_replaced = self._items_replaced
        self._handle: Handler = dynamodb.handle_request
        dynamodb.handle_request = self.handle

    def _restore(self) -> None:
        if (kept := self._disk.shape("tables")) is not None:
            self._dynamodb._restore_state(json.loads(kept, object_hook=self._hook))
        tables = {table["TableArn"]: table for table in self._dynamodb._tables.all_values()}
        for place, hash_key, range_key, value in self._disk.rows("items"):
            self._set(tables[place], hash_key, range_key, json.loads(value))

    def _set_item(self, table: Any, hash_key: str, range_key: str, item: Any) -> Any:
        self._changed[table["TableArn"], hash_key, range_key] = item
        return self._set(table, hash_key, range_key, item)

    def _remove_item(self, table: Any, hash_key: str, range_key: str) -> Any:
        self._changed[table["TableArn"], hash_key, range_key] = None
        return self._remove(table, hash_key, range_key)

    def _items_replaced(self, table: Any) -> None:
        for hash_key, items in table["items"].items():
            for range_key, item in items.items():
                self._changed[table["TableArn"], hash_key, range_key] = item
        self._replaced(table)

    async def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Answer:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        with self._lock:
            before = self._arns() if action not in _READS | _WRITES else set()
            answer = await self._handle(method, path, headers, body, query)
            changes: list[tuple[str, tuple[str, ...], str | None]] = [
                ("items", key, None if item is None else json.dumps(item, separators=(",", ":")))
                for key, item in self._changed.items()
            ]
            self._changed.clear()
            dropped = []
            if action not in _READS | _WRITES:
                changes.append(("shapes", ("tables",), self._shapes()))
                dropped = [("items", arn) for arn in before - self._arns()]
            _write(self._disk, changes, dropped)
        return answer

    def _arns(self) -> set[str]:
        return {table["TableArn"] for table in self._dynamodb._tables.all_values()}

    def _shapes(self) -> str:
        """All but items."""
        state = self._dynamodb
        tables = type(state._tables)()
        for (account, region, name), table in state._tables.all_items():
            shape = {key: value for key, value in table.items() if key != state._INDEX_MEMBERS}
            tables.set_scoped(account, region, name, {**shape, "items": {}, "ItemCount": 0, "TableSizeBytes": 0})
        kept = {"tables": tables, "ttl_settings": state._ttl_settings, "pitr_settings": state._pitr_settings}
        return json.dumps({**kept, "tags": state._tags}, default=self._default)


class DurableQueues:
    """MiniStack's SQS, likewise."""

    def __init__(self, disk: Disk) -> None:
        from ministack.core import persistence
        from ministack.services import sqs

        self._disk = disk
        self._sqs: Any = sqs
        self._default: Callable[[Any], Any] = persistence._json_default
        self._hook: Callable[[Any], Any] = persistence._json_object_hook
        self._known: dict[str, set[str]] = {}
        self._restore()
        self._handle: Handler = sqs.handle_request
        sqs.handle_request = self.handle

    def _restore(self) -> None:
        if (kept := self._disk.shape("queues")) is not None:
            self._sqs._restore_state(json.loads(kept, object_hook=self._hook))
        queues = {_place(*scope): queue for scope, queue in self._sqs._queues.all_items()}
        messages = [
            (place, name, json.loads(value, object_hook=self._hook))
            for place, name, value in self._disk.rows("messages")
        ]
        for place, name, message in sorted(messages, key=lambda row: row[2]["sent_at"]):
            queues[place]["messages"].append(message)
            self._known.setdefault(place, set()).add(name)

    async def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Answer:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        answer = await self._handle(method, path, headers, body, query)
        queues = {_place(*scope): queue for scope, queue in self._sqs._queues.all_items()}
        changes: list[tuple[str, tuple[str, ...], str | None]] = []
        for place, queue in queues.items():
            messages = {message["id"]: message for message in queue["messages"]}
            known = self._known.setdefault(place, set())
            for name in messages.keys() - known:
                changes.append(("messages", (place, name), json.dumps(messages[name], default=self._default)))
            changes += [("messages", (place, name), None) for name in known - messages.keys()]
            self._known[place] = set(messages)
        gone = [place for place in self._known if place not in queues]
        for place in gone:
            del self._known[place]
        if action not in _QUEUE_READS | _QUEUE_WRITES:
            changes.append(("shapes", ("queues",), self._shapes()))
        _write(self._disk, changes, [("messages", place) for place in gone])
        return answer

    def _shapes(self) -> str:
        """All but messages."""
        queues = type(self._sqs._queues)()
        for scope, queue in self._sqs._queues.all_items():
            queues.set_scoped(*scope, {**queue, "messages": []})
        return json.dumps({"queues": queues}, default=self._default)


def _place(account: str, region: str, url: str) -> str:
    return f"{account} {region} {url}"


def _write(disk: Disk, changes: list[tuple[str, tuple[str, ...], str | None]], dropped: list[tuple[str, str]]) -> None:
    if not changes and not dropped:
        return
    try:
        disk.write(changes, dropped)
    except sqlite3.Error as error:
        print(f"durable: the disk doesn't take what was written: {error}", file=sys.stderr, flush=True)
        os._exit(_FAILED)  # nobody may be answered from memory that isn't on the disk


async def _no_reset(*_: Any) -> Answer | None:
    """MiniStack would delete everything for whoever asks."""
    return None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.durable", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--file", type=Path, required=True, help="where the tables are kept")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4566)
    options = parser.parse_args()
    os.environ |= {
        "BIND_HOST": options.host,
        "MINISTACK_HOST": options.host,
        "GATEWAY_PORT": str(options.port),
        "SERVICES": "dynamodb,sqs",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
        "TMPDIR": str(options.file.parent),  # for its process number
    }
    try:
        disk = Disk(options.file)
    except sqlite3.Error as error:
        raise SystemExit(f"durable: {options.file} can't be used: {error}") from error
    from ministack import app

    DurableTables(disk)
    DurableQueues(disk)
    app._handle_admin_reset = _no_reset
    sys.argv = ["ministack"]
    app.main()


if __name__ == "__main__":
    main()
