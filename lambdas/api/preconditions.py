"""``ETag`` and ``If-Match`` (RFC 9110 §8.8.3, §13.1.1): nobody overwrites what they haven't read."""

from __future__ import annotations

from typing import Any

from lambdas.api.problems import responses
from lambdas.api.security import Caller
from lambdas.repositories.directory import Stale
from lambdas.repositories.models import DirectoryItem

_CHANGES = {"PATCH", "PUT", "DELETE"}
_PARAMETER = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The `ETag` of what you have read: if it has changed meanwhile, nothing happens (412).",
}


def etag(item: DirectoryItem) -> str:
    """Another one after every change."""
    return f'"{item.revision or "0"}"'


def check(item: DirectoryItem, who: Caller) -> None:
    """Note that ``item`` is what the request is about. Raises Stale if it isn't as the caller has read it; what is
    written then is written only if it still is."""
    who.thing = item
    if who.if_match is None or who.if_match.strip() == "*":
        return
    if etag(item) not in (tag.strip() for tag in who.if_match.split(",")):
        raise Stale
    item.guarded = True


def one_thing(path: str) -> bool:
    """Whether ``path``, as routes are written, is that of a single thing."""
    return path.endswith("}")


def documented(path: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A route's settings, with what they have to say of preconditions."""
    extra = settings.get("openapi_extra") or {}
    if (
        not one_thing(path)
        or not _CHANGES & set(settings.get("methods") or ())
        or _PARAMETER in extra.get("parameters", ())
    ):
        return settings
    more = {**extra, "parameters": [*extra.get("parameters", ()), _PARAMETER]}
    return {**settings, "openapi_extra": more, "responses": {**(settings.get("responses") or {}), **responses(412)}}
