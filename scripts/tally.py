"""An HTTP proxy on loopback that counts what passes, for measuring what an operation costs."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP = {"host", "connection", "transfer-encoding", "content-length"}


class Tally:
    """Forwards to ``target``; ``counts`` has DynamoDB's operations by name, and other requests by path."""

    def __init__(self, host: str, target: str) -> None:
        self.counts: Counter[str] = Counter()
        parts = urlsplit(target)
        tally = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                operation = (self.headers.get("x-amz-target") or self.path).rpartition(".")[2]
                tally.counts[operation] += 1
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
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = _forward

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self) -> Counter[str]:
        """The counts since the last time."""
        counts, self.counts = self.counts, Counter()
        return counts

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
