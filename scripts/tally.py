"""An HTTP proxy on loopback that counts what passes, for measuring what an operation costs."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP = {"host", "connection", "transfer-encoding", "content-length"}


class Tally:
    """Forwards to ``target``; ``counts`` has DynamoDB's operations by name, and other requests by path. ``units`` has
    the read and write request units that DynamoDB would charge: by the size of what is sent, at least one, once more
    for each index of the table; a read counts as one item of up to 4 KB."""

    def __init__(self, host: str, target: str) -> None:
        self.counts: Counter[str] = Counter()
        self.units: Counter[str] = Counter()
        parts = urlsplit(target)
        tally = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # a body that waits for its headers to be acknowledged takes 40 ms

            def log_message(self, *_: object) -> None: ...

            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                operation = (self.headers.get("x-amz-target") or self.path).rpartition(".")[2]
                tally.counts[operation] += 1
                if "x-amz-target" in self.headers:
                    tally.units.update(_units(operation, json.loads(body)))
                upstream = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
                try:
                    headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP}
                    upstream.request(self.command, self.path, body, headers)
                    answer = upstream.getresponse()
                    data = answer.read()
                finally:
                    upstream.close()
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in _HOP:
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # whoever asked has been stopped
                    self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = _forward

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take_units(self) -> Counter[str]:
        """The units since the last time."""
        units, self.units = self.units, Counter()
        return units

    def take(self) -> Counter[str]:
        """The counts since the last time."""
        counts, self.counts = self.counts, Counter()
        return counts

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


_INDEXES = {"directory": 1, "bindings": 2, "calls": 1}  # leases have none; assignments of providers are rare
_ITEM = {"PutItem", "UpdateItem", "DeleteItem"}


def _units(operation: str, body: dict[str, Any]) -> dict[str, float]:
    consistent = 1.0 if body.get("ConsistentRead") else 0.5
    if operation in ("GetItem", "Query"):
        return {"read": consistent}
    if operation == "BatchGetItem":
        tables = body["RequestItems"].values()
        return {"read": sum(len(one["Keys"]) * (1.0 if one.get("ConsistentRead") else 0.5) for one in tables)}
    if operation in _ITEM:
        return {"write": _written(body)}
    if operation == "TransactWriteItems":
        return {"write": sum(2 * _written(one) for item in body["TransactItems"] for one in item.values())}
    return {}


def _written(body: dict[str, Any]) -> int:
    size = max(1, math.ceil(len(json.dumps(body.get("Item") or body.get("ExpressionAttributeValues") or {})) / 1024))
    return size * (1 + _INDEXES.get(body["TableName"].rpartition("-")[2], 0))
