"""Two Regions on one machine: a MiniStack and a control plane each, their tables replicated as MREC does it (asynchronously,
last writer wins, item by item), with a lag, an order and a partition of the test's choosing. The leases are one table for both, as MRSC is."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from pathlib import Path
from typing import Any

from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import CONTROL, MINISTACK, PREFIX, DevelopmentEdge, Host, development_client
from scripts.tables import create_tables, table_definitions

REGIONS = ("us-east-1", "eu-west-1")
_KEYS = {
    definition["TableName"].removeprefix(f"{PREFIX}-"): [part["AttributeName"] for part in definition["KeySchema"]]
    for definition in table_definitions(PREFIX)
}
_TABLES = ("directory", "bindings", "calls")


class TwoRegions:
    """``lag`` in seconds for each item on its way; with ``reordered`` items overtake each other; ``parted`` keeps
    everything back."""

    def __init__(self, directory: Path, base: str, edges: int = 2) -> None:
        prefix = base.rpartition(".")[0]
        self.hosts = [Host(f"{prefix}.101"), Host(f"{prefix}.102")]
        self._shared = Host(f"{prefix}.100")
        made = [
            DevelopmentEdge(
                f"edge-{'ab'[index]}",
                Host(f"{prefix}.{1 + index}"),
                {"control": self._urls(index), "provider_networks": ["127.0.0.0/8"]},
            )
            for index in range(edges)
        ]
        self.fleet = DevelopmentFleet(directory, self.hosts[0], made)
        self.processes = self.fleet.processes
        self.lag = 0.1
        self.reordered = False
        self.parted = False
        # Made once: clients may be shared by threads, but not made in several at a time.
        self._clients = [self._client(host, region) for host, region in zip(self.hosts, REGIONS, strict=True)]
        self._stop = threading.Event()
        self._known: list[dict[tuple[str, str], str]] = [{}, {}]
        self._stamps: dict[tuple[str, str], int] = {}
        self._flying: list[tuple[float, int, int, str, str, Any]] = []
        self._thread = threading.Thread(target=self._replicate)

    @property
    def shared(self) -> str:
        """Where the leases are."""
        return self._shared.address

    def _urls(self, first: int) -> list[str]:
        urls = [f"http://{host.address}:{CONTROL}" for host in self.hosts]
        return urls[first:] + urls[:first]

    def __enter__(self) -> TwoRegions:
        try:
            for name, host in (("shared", self._shared), ("region-0", self.hosts[0]), ("region-1", self.hosts[1])):
                self.fleet.start_ministack(name, host)
            create_tables(self._client(self._shared, REGIONS[0]), PREFIX)
            for index, host in enumerate(self.hosts):
                create_tables(self._client(host, REGIONS[index]), PREFIX)
            for index in (0, 1):
                self.start_control(index)
            self.fleet.provision()
            self._thread.start()
            for edge in self.fleet.edges:
                self.fleet.register_edge(edge)
            self.settle()  # one that its Region doesn't know yet would ask the other one for half a minute
            for edge in self.fleet.edges:
                self.fleet.start_edge(edge)
            for edge in self.fleet.edges:
                self.fleet.wait_ready(edge)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.processes.stop_all()

    def start_control(self, index: int) -> None:
        environment = {
            "AWS_DEFAULT_REGION": REGIONS[index],
            "LEASES_ENDPOINT_URL": f"http://{self._shared.address}:{MINISTACK}",
        }
        host = self.hosts[index]
        self.fleet.start_control_at(f"control-{index}", host, f"http://{host.address}:{MINISTACK}", environment)

    def kill_region(self, index: int) -> None:
        """Its control plane and its tables are gone, and nobody answers there."""
        self.processes.kill(f"control-{index}")

    def settle(self, seconds: float = 40) -> None:
        """Until both Regions have the same items."""
        end = time.monotonic() + seconds
        while True:
            scans = [self._scan(index) for index in (0, 1)]
            if scans[0] == scans[1]:
                return
            if time.monotonic() >= end:
                differing = {key for key in scans[0].keys() | scans[1].keys() if scans[0].get(key) != scans[1].get(key)}
                raise AssertionError(f"the Regions don't converge: {sorted(differing)[:10]}")
            time.sleep(0.05)

    # Replication

    @staticmethod
    def _client(host: Host, region: str) -> Any:
        return development_client("dynamodb", f"http://{host.address}:{MINISTACK}", region)

    def _scan(self, index: int) -> dict[tuple[str, str], str]:
        client = self._clients[index]
        found: dict[tuple[str, str], str] = {}
        for table in _TABLES:
            name = f"{PREFIX}-{table}"
            for page in client.get_paginator("scan").paginate(TableName=name):
                for item in page["Items"]:
                    key = {part: item[part] for part in _KEYS[table]}
                    found[table, json.dumps(key, sort_keys=True)] = json.dumps(item, sort_keys=True)
        return found

    def _replicate(self) -> None:
        clients = self._clients
        rng = random.Random(5)
        serial = itertools.count(1)
        now = time.monotonic()
        # As long a rest as the round took: a machine with two cores has more to do than this.
        while not self._stop.wait(max(0.02, time.monotonic() - now)):
            now = time.monotonic()
            for index in (0, 1):
                items = self._scan(index)
                for key in items.keys() | self._known[index].keys():
                    if items.get(key) != self._known[index].get(key):
                        delay = self.lag * (rng.uniform(0, 2) if self.reordered else 1)
                        stamp = self._stamps[key] = next(serial)  # never the same in both Regions
                        self._flying.append((now + delay, stamp, 1 - index, *key, items.get(key)))
                self._known[index] = items
            if self.parted:
                continue
            due = sorted(item for item in self._flying if item[0] <= now)
            self._flying = [item for item in self._flying if item[0] > now]
            for _, stamp, to, table, key, item in due:
                if self._stamps[table, key] > stamp:
                    continue  # the last writer wins
                if item is None:
                    clients[to].delete_item(TableName=f"{PREFIX}-{table}", Key=json.loads(key))
                    self._known[to].pop((table, key), None)
                else:
                    clients[to].put_item(TableName=f"{PREFIX}-{table}", Item=json.loads(item))
                    self._known[to][table, key] = item
