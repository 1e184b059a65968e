"""The API's client: requests, pages, and errors as people read them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

_TIMEOUT = 30.0  # seconds; an import takes its time
_UP = Path(".local/up.json")


class ApiError(Exception):
    """The API said no, or nothing; the text says why and what to do."""


class Client:
    """``tenant`` goes along with every request that may name one."""

    def __init__(self, url: str, key: str, tenant: str | None) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self.tenant = tenant
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=_TIMEOUT))

    @classmethod
    def found(cls, url: str | None, key: str | None, tenant: str | None) -> Client:
        """By what is given, the environment, or the development fleet that runs in this folder. Raises ApiError."""
        url, key = url or os.environ.get("SIPWIZARD_API"), key or os.environ.get("SIPWIZARD_KEY")
        if not (url and key) and _UP.exists():
            up = json.loads(_UP.read_text())
            url, key = url or up["api"], key or up["key"]
        if not url:
            raise ApiError("Say where the API is and who you are: set SIPWIZARD_API and SIPWIZARD_KEY.")
        return cls(url, key or "", tenant or os.environ.get("SIPWIZARD_TENANT"))

    def call(
        self, method: str, path: str, body: Any = None, data: bytes | None = None, kind: str = "", **query: Any
    ) -> Any:
        """The answer's JSON, or its text if it isn't JSON. Raises ApiError."""
        asked = {name: value for name, value in query.items() if value is not None}
        url = self.url + path + (f"?{urlencode(asked)}" if asked else "")
        headers = {"Authorization": f"Bearer {self._key}"}
        if body is not None:
            data, kind = json.dumps(body).encode(), "application/json"
        if data is not None:
            headers["Content-Type"] = kind
        try:
            reply = self._pool.request(method, url, body=data, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise ApiError(f"{self.url} can't be had: {type(error).__name__}") from error
        text = reply.data.decode("utf-8", "replace")
        if reply.status >= 300:
            raise ApiError(_why(reply.status, text))
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
    """A path under /v1, its parts quoted."""
    return "/v1/" + "/".join(quote(part, safe="@:") for part in parts)


def _why(status: int, text: str) -> str:
    try:
        problem = json.loads(text)
        lines = [f"{problem['detail']} ({status})"]
        for fault in problem.get("errors") or ():
            where = f"line {fault['line']}, " if "line" in fault else ""
            lines.append(f"  {where}{fault.get('field', '')}: {fault.get('fault', '')}")
        return "\n".join(lines)
    except (ValueError, KeyError, TypeError):
        return f"status {status}: {text[:300]}"
