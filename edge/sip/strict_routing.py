"""Strict routers as the next hop (RFC 3261 §12.2.1.1, §16.6 step 6): they go by the Request-URI, whose real value
stands at the end of the Route."""

from __future__ import annotations

from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, split_list, value_of
from edge.sip.message import Request
from edge.sip.uri import Uri


def next_hop(uri: str, routes: list[str]) -> tuple[str, list[str]]:
    """The Request-URI and Route values of a request for ``uri`` by way of ``routes``."""
    if not routes:
        return uri, routes
    try:
        first = NameAddr.parse(routes[0]).uri
        strict = Uri.parse(first).param("lr") is None
    except ParseError:
        return uri, routes  # whoever wrote it may be able to read it
    return (first, [*routes[1:], f"<{uri}>"]) if strict else (uri, routes)


def obey(request: Request) -> None:
    """Write ``request`` as the first of its Routes wants it."""
    at = next((index for index, header in enumerate(request.headers) if header[0] == "route"), -1)
    if at < 0:
        return
    try:
        routes = [value for key, line in request.headers if key == "route" for value in split_list(value_of(line))]
    except ParseError:
        return
    uri, changed = next_hop(request.uri, routes)
    if changed is not routes:
        request.uri = uri
        rest = [header for header in request.headers if header[0] != "route"]
        request.headers = [*rest[:at], *(("route", f"Route: {route}") for route in changed), *rest[at:]]
