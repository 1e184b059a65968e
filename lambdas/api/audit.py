"""The audit trail: every change that was made by the API, by which key, to whose things. What fields were set is noted,
not their values: passwords are among them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from lambdas.api import bodies, preconditions
from lambdas.api.idempotent import once
from lambdas.api.problems import Problem
from lambdas.api.security import Caller, caller, changes, identify, slow_down
from lambdas.repositories.events import StoredEvent
from lambdas.services.services import Services

log = logging.getLogger(__name__)

_NAMES = ("aor", "network", "email", "id", "name")  # of things, the one that people know them by first


class AuditedRoute(APIRoute):
    """A route that looks at the API key first, then at the body, whose changes leave a trace, and whose things can be
    changed as they were read."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        super().__init__(path, endpoint, **preconditions.documented(path, settings))

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known, kinds, keyless = _queries(self.dependant), self._kinds(), not _needs(self.dependant, caller)

        async def audited(request: Request) -> Response:
            response = await handle(request)
            who: Caller | None = getattr(request.state, "caller", None)
            thing = who.thing if who is not None else None
            if thing is not None and preconditions.one_thing(self.path) and request.method != "DELETE":
                response.headers["ETag"] = preconditions.etag(thing)
            if who is not None and changes(request) and response.status_code < 300:
                text = f"{request.method} {request.url.path}{_made(response, request.url.path)}"
                fields = _fields(await request.body())
                text += f": {fields}" if fields else ""
                await run_in_threadpool(note, request.app.state.services, who.about, who.key, text)
            return response

        async def admitted(request: Request) -> Response:
            services: Services = request.app.state.services
            if keyless:
                slow_down(request, services)
            else:
                request.state.caller = await run_in_threadpool(identify, request, services)
            if "if-match" in request.headers and not preconditions.takes(self.path) and request.method != "GET":
                raise Problem(400, "If-Match is for changing or deleting one thing: leave it out here.")
            _check_query(request, known)
            longest = bodies.LONGEST_OF_STRANGERS if keyless else bodies.LONGEST
            return await once(await bodies.taken(request, kinds, longest), audited)

        return admitted

    def _kinds(self) -> set[str]:
        """The types of bodies that are taken here: JSON, if any, and what the route's documentation adds."""
        said = (self.openapi_extra or {}).get("requestBody", {}).get("content", {})
        return {*said, *([bodies.JSON] if self.body_field is not None else [])}


def _needs(dependant: Dependant, what: Callable[..., Any]) -> bool:
    """Whether a route, or what it depends on, depends on ``what``."""
    return dependant.call is what or any(_needs(one, what) for one in dependant.dependencies)


def _queries(dependant: Dependant) -> set[str]:
    """The query parameters that a route, and what it depends on, know."""
    found = {field.alias for field in dependant.query_params}
    return found.union(*(_queries(one) for one in dependant.dependencies))


def _check_query(request: Request, known: set[str]) -> None:
    """What is asked for and not known would be left out without a word. Raises Problem."""
    given = [name for name, _ in request.query_params.multi_items()]
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        possible = f"there are {', '.join(sorted(known))}" if known else "there are none"
        raise Problem(422, f"There is no query parameter {unknown!r} here; {possible}.")
    twice = next((name for name in given if given.count(name) > 1), None)
    if twice is not None:
        raise Problem(422, f"{twice!r} stands in the query more than once; which one counts can't be told.")


def note(services: Services, tenant: str, key: str, text: str) -> None:
    """A change of ``tenant``'s things, by or with API key ``key``. It has been made, whatever comes of this."""
    try:
        services.tables.events.add(tenant, StoredEvent("audit", services.clock(), text, key))
    except Exception:
        log.exception("a change isn't in the audit trail: %s by key %s", text, key)


def _made(response: Response, path: str) -> str:
    """What it is about, where the path doesn't say it."""
    try:
        value = json.loads(bytes(response.body))
    except (AttributeError, ValueError):
        return ""
    if isinstance(value, dict) and "created" in value:
        return f": {value['created']} {path.rpartition('/')[2].partition(':')[0]}"
    name = next((value[name] for name in _NAMES if name in value), "") if isinstance(value, dict) else ""
    return f" {name}" if name and str(name) not in path else ""


def _fields(body: bytes) -> str:
    try:
        value = json.loads(body) if body else {}
    except ValueError:
        return ""
    return ", ".join(sorted(value)) if isinstance(value, dict) else ""
