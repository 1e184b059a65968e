"""Where a provider is reached that has made the connection of a call itself, once that has ended (as RFC 3261 §18.2.2
has it of responses, and RFC 5923 §8 of requests): an edge that has just been started has none of those any more."""

from __future__ import annotations

from edge.providers.agent import Agent
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, split_list
from edge.sip.message import Request
from edge.sip.server_names import server_name
from edge.sip.uri import DEFAULT_PORT, DEFAULT_TLS_PORT, Uri


def redialled(flow: Flow, request: Request, provider: str, agent: Agent) -> Flow | None:
    """A connection of ours to where ``flow`` came from, at the port that ``request`` for ``provider`` says; None if
    there can be none. Whatever host it names, nothing is sent anywhere else."""
    if not flow.connection:
        return None  # it is ours, and would have been made
    try:
        uri = _next_hop(request)
    except ParseError:
        return None
    port = uri.port or (DEFAULT_TLS_PORT if flow.transport == "tls" else DEFAULT_PORT)
    server = agent.server(provider)
    name = uri.host.strip("[]") if server is None else server_name(server.host, server.ca)
    return flow._replace(remote_port=port, connection=0, server=name if flow.transport == "tls" else "")


def _next_hop(request: Request) -> Uri:
    """Raises ParseError."""
    route = request.get("route")
    if route is not None:
        first = Uri.parse(NameAddr.parse(split_list(route)[0]).uri)
        if first.param("lr") is not None:
            return first
    return Uri.parse(request.uri)
