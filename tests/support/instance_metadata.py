"""An EC2 instance's metadata service, as version 2 of it answers: a session first, then what is asked."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from scripts.fleet_parts import DEVELOPMENT_CREDENTIALS

_MAC = "0a:1b:2c:3d:4e:5f"
_ROLE = "edge"


class _Metadata(BaseHTTPRequestHandler):
    values: ClassVar[dict[str, str]]

    def do_PUT(self) -> None:
        seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        known = self.path == "/latest/api/token" and seconds.isdecimal() and 0 < int(seconds) <= 21600
        self._answer(200 if known else 400, "the-session")

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != "the-session":
            self._answer(401, "")
            return
        value = self.values.get(self.path.removeprefix("/latest/meta-data/"))
        self._answer(404 if value is None else 200, value or "")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(host: str, interface: str, addresses: list[str]) -> ThreadingHTTPServer:
    """Serve on a free port of ``host`` until it is shut down."""
    credentials = {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": DEVELOPMENT_CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": DEVELOPMENT_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        "Token": "session",
        "Expiration": "2099-01-01T00:00:00Z",
    }

    class Metadata(_Metadata):
        values: ClassVar[dict[str, str]] = {
            "mac": _MAC,
            f"network/interfaces/macs/{_MAC}/interface-id": interface,
            f"network/interfaces/macs/{_MAC}/local-ipv4s": "\n".join(addresses),
            "iam/security-credentials/": _ROLE,
            f"iam/security-credentials/{_ROLE}": json.dumps(credentials),
        }

    server = ThreadingHTTPServer((host, 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
