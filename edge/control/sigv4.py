"""AWS Signature Version 4 for Function URLs with AWS_IAM, with whatever credentials botocore finds on the machine.

botocore's own signer makes a request of its own type, and the day's key anew, for each question.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from urllib.parse import urlsplit

from botocore.session import Session

_SERVICE = "lambda"


class Sigv4:
    """Signs POST requests. The Region is read from the host, ``ID.lambda-url.REGION.on.aws``."""

    def __init__(self) -> None:
        credentials = Session().get_credentials()
        if credentials is None:
            raise ValueError("control_auth: aws_iam needs AWS credentials: an instance role, or an access key")
        self._credentials = credentials

    def sign(self, url: str, headers: Mapping[str, str], body: bytes, now: float) -> dict[str, str]:
        """``headers``, which are all signed, with those that prove who sends them and ``body`` to ``url``. That has no
        query, and nothing in its path that is escaped in URLs. ``now`` is wall-clock time."""
        host, path = _place(url)
        frozen = self._credentials.get_frozen_credentials()  # made anew by botocore before they expire
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        added = {"x-amz-date": stamp}
        if frozen.token:
            added["x-amz-security-token"] = frozen.token
        fields = sorted({"host": host, **{name.lower(): value for name, value in headers.items()}, **added}.items())
        names = ";".join(name for name, _ in fields)
        lines = "".join(f"{name}:{value}\n" for name, value in fields)
        request = f"POST\n{path}\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
        region = (host.partition(":")[0].split(".")[2:3] or ["us-east-1"])[0]
        scope = f"{stamp[:8]}/{region}/{_SERVICE}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(_key(frozen.secret_key, stamp[:8], region), text.encode(), "sha256").hex()
        added["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={frozen.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return {**headers, **added}


@lru_cache(maxsize=64)
def _place(url: str) -> tuple[str, str]:
    """Host, with its port where that is none of the usual ones, and path."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2], parts.path or "/"


@lru_cache(maxsize=16)
def _key(secret: str, day: str, region: str) -> bytes:
    """A day's signing key."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, _SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
