"""Where a provider is reached that has made the connection of a call itself, once that has ended (as RFC 3261 §18.2.2
has it of responses, and RFC 5923 §8 of requests): an edge that has just been started has none of those any more."""

from __future__ import annotations

from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, split_list
from edge.sip.message import Request
from edge.sip.server_names import server_name
from edge.sip.uri import DEFAULT_PORT, DEFAULT_TLS_PORT, Uri
from lambdas.contract import Server


def redialled(flow: Flow, request: Request, server: Server | None) -> Flow | None:
    """A connection of ours to where ``flow`` came from, at the port that ``request`` says; None if there can be none.
    Whatever host it names, nothing is sent anywhere else. ``server`` is the account's, whose name its certificate is
    for."""
    if not flow.connection:
        return None  # one of our own would have been made
    try:
        uri = _next_hop(request)
    except ParseError:
        return None
    if flow.transport != "tls":
        return flow._replace(remote_port=uri.port or DEFAULT_PORT, connection=0)
    if server is None:
        return None
    name = server_name(server.host, server.ca)
    return flow._replace(remote_port=uri.port or DEFAULT_TLS_PORT, connection=0, server=name)


def _next_hop(request: Request) -> Uri:
    """Raises ParseError."""
    route = request.get("route")
    if route is not None:
        first = Uri.parse(NameAddr.parse(split_list(route)[0]).uri)
        if first.param("lr") is not None:
            return first
    return Uri.parse(request.uri)
