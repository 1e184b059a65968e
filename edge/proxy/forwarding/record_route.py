"""Route and Record-Route (RFC 3261 §16.4 and §16.6 step 4; two URIs for two sides, RFC 5658)."""

from __future__ import annotations

from typing import NamedTuple

from edge.providers.leg import phone_call_id, phone_tags, provider_uri
from edge.providers.leg_token import BadLegToken, LegToPhone, LegToProvider, open_way
from edge.proxy.stack.abilities import not_allowed
from edge.proxy.stack.answered_calls import leg_name
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.flow_token import BadToken, CallReference, Destination
from edge.proxy.stack.own_places import OwnPlaces
from edge.proxy.stack.validation import check_secure
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, split_list, value_of
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header, Request
from edge.sip.uri import DEFAULT_PORT, Uri

DialogTarget = Destination | LegToProvider | LegToPhone
"""Where a request in a dialog goes, as a token says: to a flow, or across a border to a provider or a phone."""


class DialogRoute(NamedTuple):
    """What the tokens in a request say: where it goes, and whose the other one is, so from where it has to come.
    ``sender`` is None where that isn't a phone of ours, or nothing says it."""

    target: DialogTarget
    sender: Destination | None

    @property
    def called(self) -> Flow | None:
        """The flow of whoever was called; None if nothing says it."""
        sender = self.sender.flow if self.sender is not None else None
        match self.target:
            case Destination(flow=flow, call=call):
                return sender if call.to_caller else flow
            case LegToProvider(flow=flow, translated=True):
                return flow
            case _:
                return sender

    @property
    def caller_address(self) -> str:
        """The edge address of whoever calls, "" if nothing says it: that of the process that has made the call."""
        sender = self.sender.flow.address if self.sender is not None else ""
        match self.target:
            case Destination(flow=flow, call=call):
                return flow.address if call.to_caller else sender
            case LegToProvider(flow=flow, translated=False):
                return flow.address
            case _:
                return sender

    @property
    def called_binding(self) -> str:
        """The binding of whoever was called, if that is a phone and something says it; else ""."""
        sender = self.sender.binding if self.sender is not None else ""
        match self.target:
            case Destination(binding=binding, call=call):
                return sender if call.to_caller else binding
            case LegToProvider(translated=True):
                return ""
            case _:
                return sender

    @property
    def call(self) -> CallReference:
        """The call that it is of."""
        return call_of(self.target)


_IN_CALLS = ("INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "INFO", "REFER", "NOTIFY")


def record_route(flow: Flow, token: str, fleet: Fleet, secure: bool) -> Header:
    """The URI by which the user agent at the other end of ``flow`` reaches us, and by which others reach it."""
    return ("record-route", f"Record-Route: <{fleet.uri(flow, token, secure)};lr>")


def call_of(target: DialogTarget | None) -> CallReference:
    """The call that a token's request is of."""
    match target:
        case Destination(call=call):
            return call
        case LegToPhone(tenant=tenant, started=started, translated=to_caller, salt=salt):
            return CallReference(tenant, started, to_caller, salt=salt)
        case LegToProvider(tenant=tenant, started=started, translated=from_caller, salt=salt):
            return CallReference(tenant, started, not from_caller, salt=salt)
        case _:
            return CallReference()


def dialog_of(incoming: Incoming, target: DialogTarget, fleet: Fleet) -> tuple[str, str]:
    """The Call-ID that phones know the dialog by, and the dialog's name, which is the same from all sides. Raises
    BadLegToken."""
    call_id, tags = incoming.call_id, (incoming.from_tag, incoming.to_tag)
    if isinstance(target, LegToPhone):
        call_id, tags = phone_call_id(call_id, target, fleet.tokens), phone_tags(incoming, target)
    return call_id, leg_name(call_id, *tags, call_of(target).salt)


def route_of(incoming: Incoming, fleet: Fleet, own: OwnPlaces) -> DialogRoute | None:
    """What the tokens in a request's Route or Request-URI say; None without any. Raises Fault."""
    found = take_routes(incoming, fleet, own) if "route" in incoming.first else []
    if found:
        target = found[-1]
        if isinstance(target, LegToProvider):
            _check_contact(incoming, fleet)
            phone = target.phone
            return DialogRoute(target, Destination(phone, target.binding, CallReference()) if phone else None)
        first = found[0]
        fits = len(found) > 1 and isinstance(first, Destination) and _of_one_call(first, target)
        return DialogRoute(target, first if fits and isinstance(first, Destination) else None)
    if not (incoming.to_tag and fleet.address_at(incoming.uri.host)):
        return None
    try:
        way = open_way(incoming.uri.user, incoming.call_id, fleet.tokens, incoming.to_tag)
    except BadLegToken:
        raise Fault(481) from None
    if isinstance(way, LegToProvider):
        if not (way.contact and incoming.flow.internal):
            raise Fault(481)
        _check_method(incoming)
    return DialogRoute(way, None) if way is not None else None


def _of_one_call(one: Destination, other: DialogTarget) -> bool:
    """Whether they are the two sides of one call, as far as tokens say."""
    if not isinstance(other, Destination):
        return True
    mine, theirs = one.call, other.call
    if (mine.tenant, mine.started, mine.subscription) != (theirs.tenant, theirs.started, theirs.subscription):
        return False
    return mine.to_caller != theirs.to_caller or not mine.started  # those of before said nothing where none is recorded


def _check_contact(incoming: Incoming, fleet: Fleet) -> None:
    """What goes to a provider in an account's name is what a call needs, and goes to the call's other end."""
    _check_method(incoming)
    try:
        provider_uri(incoming.uri.user, incoming.call_id, fleet.tokens)
    except BadLegToken:
        raise Fault(481) from None


def _check_method(incoming: Incoming) -> None:
    if incoming.request.method not in _IN_CALLS:
        raise not_allowed(_IN_CALLS, "Method Not Allowed: not in a call through a provider")


def take_routes(incoming: Incoming, fleet: Fleet, own: OwnPlaces) -> list[DialogTarget]:
    """Strip the Route values that are ours off the front, and give what their tokens say: the first is the sender's,
    the last leads to the other side.

    A token counts only in a request with a To tag; any other request ends here, and may not be meant for somebody else
    first. Raises Fault: 403 for such a Route, and for a token that isn't valid (RFC 5626 §5.3), 400 for a Route that
    can't be read.
    """
    request = incoming.request
    _undo_strict_routing(incoming, fleet, own)
    found: list[DialogTarget] = []
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
            token = bool(incoming.to_tag and uri.user)
            if not (token and fleet.address_at(uri.host)) and not own.has(uri, incoming.flow, fleet):
                if not incoming.to_tag:
                    raise Fault(403, f"Forbidden: the Route leads to {uri.host or uri.scheme}, which is no edge")
                break
            ours += 1
            if token:
                found.append(_open(uri, incoming, fleet))
                if uri.scheme == "sips":
                    check_secure(incoming.flow)
                    incoming.secure = True
        if ours < len(values):
            if ours:
                headers[index] = ("route", f"Route: {', '.join(values[ours:])}")
            break
        del headers[index]
    return found


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
        port, tags = uri.port or DEFAULT_PORT, (incoming.from_tag, incoming.to_tag)
        return fleet.tokens.open(uri.user, call_id, fleet.address_at(uri.host), port, *tags)
    except (BadToken, BadLegToken) as error:
        raise Fault(403, "Forbidden: the Route is not one of ours") from error


def _undo_strict_routing(incoming: Incoming, fleet: Fleet, own: OwnPlaces) -> None:
    """§16.4: a strict router before us has put our own URI into the Request-URI, and the real one at the end of the
    Route. So does a phone that knows us as its outbound proxy by a URI without lr (§8.1.2)."""
    uri = incoming.uri
    if incoming.to_tag:
        ours = bool(uri.user and fleet.address_at(uri.host)) and uri.param("lr") is not None
    else:  # a REGISTER is for whoever gets it, as To says
        ours = not uri.user and incoming.request.method != "REGISTER" and own.has(uri, incoming.flow, fleet)
    if not ours:
        return
    request = incoming.request
    for index in range(len(request.headers) - 1, -1, -1):
        key, line = request.headers[index]
        if key == "route":
            values, uris = _read(line)
            if not (incoming.to_tag or (uris[-1].user and uris[-1].param("lr") is None)):
                return
            strict, request.uri = request.uri, NameAddr.parse(values[-1]).uri
            incoming.uri = uris[-1]
            rest = values[:-1]
            request.headers[index : index + 1] = [("route", f"Route: {', '.join(rest)}")] if rest else []
            _prepend_route(request, strict)
            return


def _prepend_route(request: Request, uri: str) -> None:
    request.headers.insert(0, ("route", f"Route: <{uri}>"))
