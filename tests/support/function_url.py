"""``python -m tests.support.function_url HOST PORT CALLER``: the decisions' handler behind a Function URL with AWS_IAM, as
Lambda has them: who doesn't sign with the development credentials gets 403, who does is CALLER to the function."""

from __future__ import annotations

import base64
import sys
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lambdas.handlers.decisions import handler
from scripts.fleet_parts import DEVELOPMENT_CREDENTIALS

_CREDENTIALS = Credentials(
    DEVELOPMENT_CREDENTIALS["AWS_ACCESS_KEY_ID"], DEVELOPMENT_CREDENTIALS["AWS_SECRET_ACCESS_KEY"]
)


class FunctionUrl(BaseHTTPRequestHandler):
    """One request: checked, and handed over as an event (payload format 2.0)."""

    caller = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._is_signed(body):
            self._answer(403, b'{"Message": "Forbidden"}', {})
            return
        event = {
            "version": "2.0",
            "rawPath": self.path,
            "rawQueryString": "",
            "headers": {"x-forwarded-proto": "http"} | {name.lower(): value for name, value in self.headers.items()},
            "requestContext": {
                "authentication": None,
                "authorizer": {"iam": {"userArn": self.caller, "accountId": "000000000000"}},
                "http": {"method": "POST", "path": self.path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
                "timeEpoch": int(time.time() * 1000),
            },
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        answer: dict[str, Any] = handler(event, {})
        text = answer["body"].encode()
        body = base64.b64decode(text) if answer["isBase64Encoded"] else text
        self._answer(answer["statusCode"], body, answer["headers"])

    def _is_signed(self, body: bytes) -> bool:
        given = self.headers.get("Authorization", "")
        stamp = self.headers.get("X-Amz-Date", "")
        _, _, names = given.partition("SignedHeaders=")
        signed = {name: self.headers.get(name, "") for name in names.partition(",")[0].split(";")}
        request = AWSRequest("POST", f"http://{self.headers['Host']}{self.path}", data=body, headers=signed)
        request.context["timestamp"] = stamp
        region = (given.partition("Credential=")[2].split("/") + [""] * 3)[2]  # a loopback host names none
        signer = SigV4Auth(_CREDENTIALS, "lambda", region)
        expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        age = datetime.now(UTC) - datetime.strptime(stamp or "19700101T000000Z", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return given.endswith(f"Signature={expected}") and abs(age.total_seconds()) < 300

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    FunctionUrl.caller = sys.argv[3]
    HTTPServer((sys.argv[1], int(sys.argv[2])), FunctionUrl).serve_forever()
