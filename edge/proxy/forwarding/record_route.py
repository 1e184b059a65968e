"""Route and Record-Route (RFC 3261 §16.4 and §16.6 step 4; two URIs for two sides, RFC 5658)."""

from __future__ import annotations

from edge.providers.leg import provider_uri
from edge.providers.leg_token import BadLegToken, LegToPhone, LegToProvider, open_way
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.flow_token import BadToken, Destination
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, split_list, value_of
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header, Request
from edge.sip.uri import DEFAULT_PORT, Uri

DialogTarget = Destination | LegToProvider | LegToPhone
"""Where a request in a dialog goes, as a token says: to a flow, or across a border to a provider or a phone."""
_IN_CALLS = frozenset(("INVITE", "ACK", "BYE", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY"))


def record_route(flow: Flow, token: str) -> Header:
    """The URI by which the user agent at the other end of ``flow`` reaches us, and by which others reach it."""
    return ("record-route", f"Record-Route: <sip:{token}@{flow.sent_by}{flow.uri_transport};lr>")


def destination_of(incoming: Incoming, fleet: Fleet) -> DialogTarget | None:
    """Where the tokens in a request's Route or Request-URI lead; None without any. Raises Fault."""
    found = take_routes(incoming, fleet) if "route" in incoming.first else None
    if isinstance(found, LegToProvider):
        _check_contact(incoming, fleet)
    if found is None and incoming.to_tag and incoming.uri.host in fleet.addresses:
        try:
            found = open_way(incoming.uri.user, incoming.call_id, fleet.tokens, incoming.to_tag)
        except BadLegToken:
            raise Fault(481) from None
        if isinstance(found, LegToProvider):
            if not (found.contact and incoming.flow.internal):
                raise Fault(481)
            _check_method(incoming)
    return found


def _check_contact(incoming: Incoming, fleet: Fleet) -> None:
    """What goes to a provider in an account's name is what a call needs, and goes to the call's other end."""
    _check_method(incoming)
    try:
        provider_uri(incoming.uri.user, incoming.call_id, fleet.tokens)
    except BadLegToken:
        raise Fault(481) from None


def _check_method(incoming: Incoming) -> None:
    if incoming.request.method not in _IN_CALLS:
        raise Fault(405, "Method Not Allowed: not in a call through a provider")


def take_routes(incoming: Incoming, fleet: Fleet) -> DialogTarget | None:
    """Strip the Route values that are ours off the front, and give the flow that the last of them names.

    A token counts only in a request with a To tag. None where no token was found. Raises Fault: 403 for a token that
    isn't valid (RFC 5626 §5.3), 400 for a Route that can't be read.
    """
    request = incoming.request
    _undo_strict_routing(incoming, fleet)
    destination: DialogTarget | None = None
    index = 0
    headers = request.headers
    while index < len(headers):
        key, line = headers[index]
        if key != "route":
            index += 1
            continue
        values, uris = _read(line)
        ours = 0
        for uri in uris:
            if fleet.canonical(uri.host) is None and uri.host not in fleet.addresses:
                break
            ours += 1
            if uri.user and incoming.to_tag:
                destination = _open(uri, incoming, fleet)
        if ours < len(values):
            if ours:
                headers[index] = ("route", f"Route: {', '.join(values[ours:])}")
            break
        del headers[index]
    return destination


def _read(line: str) -> tuple[list[str], list[Uri]]:
    try:
        values = split_list(value_of(line))
        return values, [Uri.parse(NameAddr.parse(value).uri) for value in values]
    except ParseError as error:
        raise Fault(400, f"Bad Request: {error}") from error


def _open(uri: Uri, incoming: Incoming, fleet: Fleet) -> DialogTarget:
    call_id = incoming.call_id
    try:
        way = open_way(uri.user, call_id, fleet.tokens, incoming.to_tag)
        if way is not None:
            return way
        return fleet.tokens.open(uri.user, call_id, uri.host, uri.port or DEFAULT_PORT)
    except (BadToken, BadLegToken) as error:
        raise Fault(403, "Forbidden: the Route is not one of ours") from error


def _undo_strict_routing(incoming: Incoming, fleet: Fleet) -> None:
    """§16.4: a strict router before us has put our own URI into the Request-URI, and the real one at the end of the
    Route."""
    uri = incoming.uri
    if not (incoming.to_tag and uri.user and uri.host in fleet.addresses and uri.param("lr") is not None):
        return
    request = incoming.request
    for index in range(len(request.headers) - 1, -1, -1):
        key, line = request.headers[index]
        if key == "route":
            values, uris = _read(line)
            strict, request.uri = request.uri, NameAddr.parse(values[-1]).uri
            incoming.uri = uris[-1]
            rest = values[:-1]
            request.headers[index : index + 1] = [("route", f"Route: {', '.join(rest)}")] if rest else []
            _prepend_route(request, strict)
            return


def _prepend_route(request: Request, uri: str) -> None:
    request.headers.insert(0, ("route", f"Route: <{uri}>"))
