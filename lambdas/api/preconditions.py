"""``ETag`` and ``If-Match`` (RFC 9110 §8.8.3, §13.1.1): nobody overwrites what they haven't read."""

from __future__ import annotations

from typing import Any

from lambdas.api.problems import responses
from lambdas.api.security import Caller
from lambdas.repositories.directory import Stale
from lambdas.repositories.models import DirectoryItem

_CHANGES = {"PATCH", "PUT", "DELETE", "POST"}
# Scripts write the one, phones the other, and nobody certificates.
_WITHOUT = ("/store/{key}", "/bindings/{binding}", ":simulate", "/certificates/{name}", "/renewal")
_SENT_AGAIN = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
    "description": "Of your choice: sent again with it within a day, the request isn't done again, but answered as the "
    "first time.",
}
_IF_MATCH = {
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
    return path.endswith("}") and takes(path)


def takes(path: str) -> bool:
    """Whether ``If-Match`` means anything there: it is about a thing that has an ``ETag``."""
    return "{" in path and not path.endswith(_WITHOUT)


def documented(path: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A route's settings, with what they have to say of preconditions and of sending again."""
    methods = set(settings.get("methods") or ())
    extra = settings.get("openapi_extra") or {}
    known = extra.get("parameters", ())
    added = [_IF_MATCH] if methods & _CHANGES and takes(path) else []
    added += [_SENT_AGAIN] if "POST" in methods else []
    added = [one for one in added if one not in known]
    if not added:
        return settings
    more = {**extra, "parameters": [*known, *added]}
    statuses = ((412,) if _IF_MATCH in added else ()) + ((409,) if _SENT_AGAIN in added else ())
    said = {**responses(*statuses), **(settings.get("responses") or {})}
    return {**settings, "openapi_extra": more, "responses": said}
