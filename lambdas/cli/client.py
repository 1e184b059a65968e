"""The API's client: requests, pages, and errors as people read them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import urllib3

_TIMEOUT = 30.0  # seconds; an import takes its time
_UP = Path(".local/up.json")


class ApiError(Exception):
    """The API said no, or nothing; the text says why and what to do. ``status`` is 0 where it said nothing; ``faults``
    are those of single fields or lines."""

    def __init__(self, text: str, status: int = 0, faults: Sequence[dict[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(_said(fault) for fault in self.faults)])


class Unreachable(ApiError):
    """It may go better in a while."""


class Client:
    """``tenant`` goes along with every request that may name one; ``etag`` is that of the last answer, and
    ``following`` where to go on after it."""

    def __init__(self, url: str, key: str, tenant: str | None) -> None:
        self.url = url.rstrip("/")
        self.tenant = tenant
        self.etag = ""
        self.following: str | None = None
        self._key = key
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=_TIMEOUT))

    @classmethod
    def found(cls, url: str | None, key: str | None, tenant: str | None) -> Client:
        """By what is given, the environment, or the development fleet that runs in this folder. Raises ApiError."""
        url = url or os.environ.get("SIPWIZARD_API")
        key = key if key is not None else os.environ.get("SIPWIZARD_KEY")
        tenant = tenant or os.environ.get("SIPWIZARD_TENANT")
        if not (url and key) and _UP.exists():
            up = json.loads(_UP.read_text())
            url = url or up["api"]
            if key is None:
                key, tenant = up["key"], tenant or up.get("tenant")
        if not url:
            raise ApiError("Say where the API is and who you are: set SIPWIZARD_API and SIPWIZARD_KEY.")
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ApiError(f"{url!r} isn't a URL like https://api.example.com")
        key = (key or "").strip()
        if not key.isascii() or not key.isprintable():
            raise ApiError("The API key has characters that no key has; copy it again.")
        return cls(url, key, tenant)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        data: bytes | None = None,
        media: str = "",
        if_match: str = "",
        **query: Any,
    ) -> Any:
        """The answer's JSON, or its text if it isn't JSON. ``media`` is the type of ``data``. Raises ApiError."""
        asked = {name: value for name, value in query.items() if value is not None}
        url = self.url + path + (f"?{urlencode(asked)}" if asked else "")
        headers = {"Authorization": f"Bearer {self._key}"}
        if body is not None:
            data, media = json.dumps(body).encode(), "application/json"
        if data is not None:
            headers["Content-Type"] = media
        if if_match:
            headers["If-Match"] = if_match
        try:
            reply = self._pool.request(method, url, body=data, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(f"{self.url} can't be had: {str(error).rpartition(': ')[2]}") from error
        text = reply.data.decode("utf-8", "replace")
        if reply.status >= 300:
            raise _error(reply.status, text)
        self.etag, self.following = reply.headers.get("ETag", ""), reply.headers.get("Next-Cursor")
        if "json" not in reply.headers.get("Content-Type", ""):
            return text
        return json.loads(text) if text else None

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list."""
        cursor = None
        while True:
            page = self.call("GET", path, cursor=cursor, limit=200, **query)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return


def path_of(*parts: str) -> str:
    """A path under /v1, its parts quoted. Raises ApiError."""
    for part in parts:
        if not part or "/" in part:
            raise ApiError(f"{part!r} isn't the name of anything.")
    return "/v1/" + "/".join(quote(part, safe="@:") for part in parts)


def _error(status: int, text: str) -> ApiError:
    kind = Unreachable if status >= 500 else ApiError
    try:
        problem = json.loads(text)
        detail = f"{problem['detail']} ({status})".replace(" See `errors`.", "")
        return kind(detail, status, problem.get("errors") or ())
    except (ValueError, KeyError, TypeError):
        return kind(f"status {status}: {text[:300]}", status)


def _said(fault: dict[str, str]) -> str:
    where = [f"line {fault['line']}"] if "line" in fault else []
    field = fault.get("field", "").removeprefix("body.")
    return f"  {', '.join([*where, *([field] if field else [])])}: {fault.get('fault', '')}"
