"""The tables of one machine: what was acknowledged is there after kill -9, in whatever moment."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from scripts.durable import Disk
from scripts.fleet_parts import ROOT, development_client
from scripts.processes import wait_for
from scripts.tables import create_tables
from tests.support.fleets import fresh_base

pytestmark = pytest.mark.integration

KILLS = 50 if os.environ.get("LONG") else 4
WRITERS = 4
PATIENCE = {"connect_timeout": 2, "read_timeout": 10, "retries": {"total_max_attempts": 1}}
PORT = 4566


class Store:
    """One that is started on the same file again and again."""

    def __init__(self, path, host):
        self.path, self.host = path, host
        self.process = None

    def start(self, *watched_by):
        command = [*watched_by, sys.executable, "-m", "scripts.durable", "--file", str(self.path), "--host", self.host]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for("the store", self.listens, 20)

    def listens(self):
        assert self.process.poll() is None, self.process.stderr.read()
        with socket.socket() as probe:
            return probe.connect_ex((self.host, PORT)) == 0

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def client(self, service):
        return development_client(service, f"http://{self.host}:{PORT}", **PATIENCE)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "tables.sqlite", fresh_base())
    made.start()
    yield made
    made.kill()


def key(name):
    return {"pk": {"S": name}, "sk": {"S": "x"}}


class Writer(threading.Thread):
    """Counts up items of its own, one alone and two in a transaction, and remembers what was acknowledged."""

    def __init__(self, store, table, number, value):
        super().__init__()
        self.dynamodb, self.sqs = store.client("dynamodb"), store.client("sqs")
        self.queue = self.sqs.get_queue_url(QueueName="hooks")["QueueUrl"]
        self.table, self.number = table, number
        self.value = self.tried = value
        self.sent = set()

    def run(self):
        try:
            while True:
                self.tried = self.value + 1
                item = {"value": {"N": str(self.tried)}}
                self.dynamodb.put_item(TableName=self.table, Item={**key(f"one {self.number}"), **item})
                puts = [
                    {"Put": {"TableName": self.table, "Item": {**key(f"{name} {self.number}"), **item}}}
                    for name in "ab"
                ]
                self.dynamodb.transact_write_items(TransactItems=puts)
                self.value = self.tried
                text = f"{self.number} {self.value}"
                self.sqs.send_message(QueueUrl=self.queue, MessageBody=text)
                self.sent.add(text)
        except (BotoCoreError, ClientError):
            return  # it was killed


def test_nothing_acknowledged_is_lost(store):
    names = create_tables(store.client("dynamodb"), "d")
    table = next(name for name in names if name.endswith("directory"))
    store.client("sqs").create_queue(QueueName="hooks")
    chance = random.Random(7)
    sent = set()
    before = [dict.fromkeys(("one", "a", "b"), 0) for _ in range(WRITERS)]
    for _ in range(KILLS):
        writers = [Writer(store, table, number, max(known.values())) for number, known in enumerate(before)]
        for writer in writers:
            writer.start()
        time.sleep(chance.uniform(0.2, 0.6))
        store.kill()
        for writer in writers:
            writer.join()
        store.start()
        dynamodb = store.client("dynamodb")
        for writer, known in zip(writers, before, strict=True):
            acknowledged = writer.value if writer.value > max(known.values()) else 0
            for name, value in known.items():
                item = dynamodb.get_item(TableName=table, Key=key(f"{name} {writer.number}")).get("Item", {})
                found = int(item.get("value", {}).get("N", "0"))
                assert max(value, acknowledged) <= found <= writer.tried, name
                known[name] = found
            assert known["a"] == known["b"], "half a transaction"
            sent |= writer.sent
    assert sum(known["a"] for known in before) > KILLS * WRITERS
    assert sorted(dynamodb.list_tables()["TableNames"]) == sorted(names)
    assert sent <= waiting(store)


def waiting(store):
    """What waits in the queue; it's taken out."""
    sqs, found = store.client("sqs"), set()
    url = sqs.get_queue_url(QueueName="hooks")["QueueUrl"]
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found |= {message["Body"] for message in messages}
        entries = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    return found


def test_what_was_deleted_stays_so(store):
    dynamodb = store.client("dynamodb")
    names = create_tables(dynamodb, "d")
    table, other = (next(name for name in names if name.endswith(end)) for end in ("directory", "calls"))
    sqs = store.client("sqs")
    url = sqs.create_queue(QueueName="hooks")["QueueUrl"]
    for text in ("one", "two"):
        sqs.send_message(QueueUrl=url, MessageBody=text)
        dynamodb.put_item(TableName=table, Item=key(text))
    dynamodb.delete_item(TableName=table, Key=key("one"))
    dynamodb.update_table(TableName=other, DeletionProtectionEnabled=False)
    dynamodb.delete_table(TableName=other)
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    store.kill()
    store.start()
    items = dynamodb.scan(TableName=table)["Items"]
    assert [item["pk"]["S"] for item in items] == ["two"]
    assert other not in dynamodb.list_tables()["TableNames"]
    assert dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"
    assert waiting(store) == {"one", "two"} - {message["Body"]}


def test_nobody_is_answered_whose_write_isnt_on_the_disk(store, tmp_path):
    """The disk is full: here, the file is another process's to write."""
    dynamodb = store.client("dynamodb")
    table = next(name for name in create_tables(dynamodb, "d") if name.endswith("directory"))
    database = sqlite3.connect(tmp_path / "tables.sqlite", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    with pytest.raises((BotoCoreError, ClientError)):
        dynamodb.put_item(TableName=table, Item=key("lost"))
    _, said = store.process.communicate(timeout=60)
    assert store.process.returncode == 74
    assert "the disk doesn't take" in said
    database.close()
    store.start()
    assert "Item" not in dynamodb.get_item(TableName=table, Key=key("lost"))


def test_nobody_deletes_everything(store):
    dynamodb = store.client("dynamodb")
    create_tables(dynamodb, "d")
    request = urllib.request.Request(f"http://{store.host}:{PORT}/_ministack/reset", data=b"", method="POST")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=5)
    assert dynamodb.list_tables()["TableNames"]


_CALL = re.compile(
    r'^(?:\d+ +)?([\d.]+) (pwrite64|fdatasync|fsync|ftruncate)\(\d+<([^>]*)>(?:, "([^"]*)")?(?:, (\d+))?(?:, (\d+))?\)'
)


class Platter:
    """What a disk has of two files if it keeps only what was synced, and the rest of it that the system has."""

    def __init__(self):
        self.kept = {}
        self.waiting = {}

    def take(self, call, name, data, first, second):
        if call == "pwrite64":
            self.waiting.setdefault(name, []).append((second, data))
        elif call == "ftruncate":
            self.waiting.setdefault(name, []).append((first, None))
        else:
            self.kept[name] = self.with_waiting(name)
            self.waiting.pop(name, None)

    def with_waiting(self, name):
        content = bytearray(self.kept.get(name, b""))
        for at, data in self.waiting.get(name, ()):
            if data is None:
                del content[at:]
                continue
            content.extend(bytes(max(0, at + len(data) - len(content))))
            content[at : at + len(data)] = data
        return content


def found_on(directory, files):
    """The highest number of an item on a disk with ``files``."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    disk = Disk(directory / "tables.sqlite")
    numbers = [int(hash_key) for _, hash_key, _, _ in disk.rows("items")]
    disk.close()
    return max(numbers, default=0)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace isn't installed")
def test_nothing_acknowledged_is_lost_with_the_power(tmp_path):
    """Every state in which the disk may have been left, with only what was synced, and with what wasn't as well: each
    can be opened, and has what had been acknowledged by then. Enough is written for SQLite to go back to the beginning
    of its log."""
    store, said = Store(tmp_path / "tables.sqlite", fresh_base()), tmp_path / "strace.log"
    files = [store.path, store.path.with_name("tables.sqlite-wal")]
    store.start(
        "strace", "-D", "-f", "-ttt", "-y", "-xx", "-s", "100000", "-o", str(said), "-e", "trace=pwrite64,fdatasync,fsync,ftruncate",
        *(word for file in files for word in ("-P", str(file))),
    )  # fmt: skip
    dynamodb = store.client("dynamodb")
    table = next(name for name in create_tables(dynamodb, "d") if name.endswith("directory"))
    acknowledged = []
    for number in range(1, 151):
        dynamodb.put_item(TableName=table, Item={**key(str(number)), "text": {"S": "x" * 30_000}})
        acknowledged.append((time.time(), number))
    store.kill()
    wait_for("strace to end", lambda: "+++ killed by SIGKILL" in said.read_text()[-4096:], 20)
    platter, syncs, tried = Platter(), 0, tmp_path / "tried"
    for line in said.read_text().splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        at, call, path, data, first, second = match.groups()
        name = Path(bytes.fromhex(path.replace("\\x", "")).decode()).name
        if call in ("fdatasync", "fsync"):
            syncs += 1
            known = max((number for when, number in acknowledged if when < float(at)), default=0)
            if syncs > 3 and (syncs % 4 == 0 or not name.endswith("-wal")):
                assert found_on(tried, platter.kept) >= known
                both = {file: bytes(platter.with_waiting(file)) for file in platter.kept}
                assert found_on(tried, both) >= known
        content = bytes.fromhex((data or "").replace("\\x", ""))
        platter.take(call, name, content, int(first or 0), int(second or 0))
    assert syncs > 150
    assert len(platter.kept["tables.sqlite"]) > 1_000_000
    assert found_on(tried, platter.kept) == 150
