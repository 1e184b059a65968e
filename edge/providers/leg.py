"""The border between a phone and a provider: what each side gets to see of the other (RFC 3261 as a B2BUA, with no
dialog to remember).

The phone sees a proxy: its own Call-ID, From and To, the provider's routes after ours. The provider sees a user agent
at our edge address: one Via, our Contact, the provider account's From, and none of the phone's addresses. CSeq numbers
of what the phone sends are multiplied, so that each challenge can be answered with a number of its own. What the
provider sends in a dialog gets its number from the time of day, so that any edge can send something of its own in
between (the NOTIFYs of a transfer) without knowing what was sent before.

After a transfer the two sides have different dialogs: each way names the one on the other side.
"""

from __future__ import annotations

from dataclasses import replace

from edge.providers.leg_token import (
    UNNUMBERED,
    BadLegToken,
    DialogNames,
    LegToPhone,
    LegToProvider,
    Sealer,
    open_call_id,
    open_contact,
    seal_call_id,
    seal_contact,
    seal_way,
)
from edge.providers.sdp import published
from edge.sip import privacy
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, parse_cseq, split_list, tag_of, value_of
from edge.sip.incoming import Incoming
from edge.sip.message import Header, Request, Response, tagged
from edge.sip.numbers import number_of
from edge.sip.places import Places
from edge.sip.session_bodies import UnreadableBody
from edge.sip.uri import request_uri

ATTEMPTS = 16
"""Numbers that each CSeq of the phone stands for: the first and the answers to challenges."""
_WRAP = 2**27  # a CSeq has 31 bits
HIGHEST_CSEQ = 2**31 - 1
_OUT = frozenset(
    (
        "accept", "accept-encoding", "accept-language", "allow", "allow-events", "content-disposition",
        "content-encoding", "content-language", "content-type", "date", "diversion", "event", "info-package",
        "expires", "mime-version", "min-se", "p-early-media", "priority", "privacy", "proxy-require", "rack", "reason",
        "recv-info", "refer-sub", "refer-to", "require", "retry-after", "rseq", "server", "session-expires", "subject",
        "subscription-state", "supported", "timestamp", "unsupported", "user-agent",
    )
)  # fmt: skip
"""What providers get to see beside what makes a request or response: others may name the phone's home."""

_LEFT_OUT_OF_BYE = _OUT - {"reason", "proxy-require", "require", "supported"}
_OF_BODIES = frozenset(("content-disposition", "content-encoding", "content-language", "content-type", "mime-version"))
_ANSWERED = frozenset(("from", "to", "call-id", "cseq", "via", "record-route", "contact"))
_CHALLENGES = frozenset(("www-authenticate", "proxy-authenticate", "authentication-info", "proxy-authentication-info"))


def number(cseq: int, base: int, attempt: int) -> int:
    """The provider's CSeq number for the phone's. A ``base`` below 0 is by how many numbers another phone has been
    ahead, from which the call was transferred."""
    ahead = (cseq - base) % _WRAP if base >= 0 else min(cseq % _WRAP - base, _WRAP - 1)
    return ATTEMPTS * ahead + attempt


def base_after(cseq: int, base: int) -> int:
    """The ``base`` by which the next phone's numbers, from 0 on, go on after ``cseq``."""
    return -(number(cseq, base, 0) // ATTEMPTS)


def number_at_phone(phone: LegToPhone, wall: float) -> int:
    """A CSeq number for what is sent to the phone in its dialog now: higher than all before, and lower than all later
    ones, whichever edge sends them. It counts the call's time after the INVITE that the phone got: milliseconds, or
    where the next border multiplies them hundredths of a second, of which 7 days have fewer than its numbers."""
    passed = max(0.0, wall - phone.started) * (100 if phone.flow.internal else 1000)
    return min(phone.theirs + 1 + int(passed), HIGHEST_CSEQ)


def invite_at_phone(cseq: int, phone: LegToPhone, remembered: int | None) -> int:
    """The number under which the phone has got the provider's INVITE ``cseq``, which an ACK or a RAck names: as this
    process remembers, or else as the Contact that was answered with says."""
    if phone.theirs == UNNUMBERED or remembered is not None:
        return cseq if remembered is None else remembered
    return phone.answered[1] if phone.answered[0] == cseq and phone.answered[1] else cseq


# From the phone to the provider


def request_out(
    incoming: Incoming,
    way: LegToProvider,
    phone: LegToPhone,
    uri: str,
    branch: str,
    attempt: int,
    added: list[Header],
    keys: Sealer,
    places: Places,
) -> Request:
    """What the provider gets. ``phone`` is where its own requests shall go; ``added`` are routes, credentials and what
    the account adds. Raises UnreadableBody, but for an ACK, which nobody could refuse."""
    request = incoming.request
    flow = way.flow
    method = request.method
    provider_call_id = call_id_at_provider(incoming.call_id, way, keys)
    answered = attempt
    if method in ("ACK", "PRACK"):
        contact = _our_contact(incoming, keys)
        answered = contact[1] if contact is not None else way.attempt
    headers: list[Header] = [
        ("via", f"{places.via(flow, branch)};rport"),
        ("max-forwards", f"Max-Forwards: {incoming.max_forwards - 1}"),
    ]
    for key, line in request.headers:
        if way.dialog is not None and key in ("from", "to"):
            line = f"From: {way.dialog.local}" if key == "from" else f"To: {way.dialog.remote}"
        elif key == "from" and way.translated:
            line = f"From: {way.from_value};tag={tag_of(value_of(line))}"
        elif key == "to" and way.to_uri:
            line = f"To: <{way.to_uri}>" + (f";tag={incoming.to_tag}" if incoming.to_tag else "")
        elif key == "call-id":
            line = f"Call-ID: {provider_call_id}"
        elif key == "cseq":
            line = f"CSeq: {number(incoming.cseq, way.base, answered if method == 'ACK' else attempt)} {method}"
        elif key == "rack":
            line = _rack(line, number(racked(incoming), way.base, answered)) if racked(incoming) else line
        elif key == "contact":
            seen = contact_for(phone, flow, provider_call_id, keys, places, _contact(request), incoming.secure)
            line = f"Contact: <{seen}>"
        elif key == "diversion" and not phone.flow.internal:
            continue  # a phone's own word, which providers might charge somebody else by
        elif key == "privacy" and any(name == key for name, _ in added):
            continue  # what was dialled for this call counts for more than the phone's settings
        elif key not in ("from", "to") and key not in _OUT and not (key == "route" and incoming.to_tag):
            continue
        headers.append((key, line))
    headers[2:2] = added
    if method == "BYE":  # the end of a call must get through, whatever its sender would like to say with it
        kept = [header for header in headers if header[0] not in _LEFT_OUT_OF_BYE]
        return Request(method, uri, _sized(kept, b""))
    if method == "ACK":
        headers, body = _readable(request, headers, phone.flow, places)
    else:
        headers, body = _published(request, headers, phone.flow, places)
    return Request(method, uri, _sized(headers, body), body)


def body_out(request: Request, phone_flow: Flow, places: Places) -> bytes:
    """The body of what ``request_out`` makes. Raises UnreadableBody."""
    return b"" if request.method == "BYE" else _published(request, [], phone_flow, places)[1]


def response_in(
    response: Response,
    incoming: Incoming,
    way: LegToProvider,
    phone_flow: Flow,
    attempt: int,
    keys: Sealer,
    places: Places,
) -> Response:
    """The provider's answer as the phone gets it; Contacts of a 3xx are left to whoever knows where they may lead."""
    headers = _answered(response, incoming)
    ours: list[Header] = []
    status = response.status
    tag = incoming.to_tag or tag_of(response.get("to") or "")
    if 100 < status < 300:
        contact = _contact(response)
        if contact:
            routes = way.routes if incoming.to_tag else tuple(reversed(response.split_values("record-route")))
            known = replace(way, contact=contact, routes=routes, attempt=attempt)
            seen = _seen_contact(known, phone_flow, incoming.call_id, keys, places, tag, incoming.secure)
            ours.append(("contact", f"Contact: <{seen}>"))
        if not incoming.to_tag and tag and not phone_flow.internal:
            ours += [header for header in response.headers if header[0] == "record-route"]
            ours.append(route_for(way, phone_flow, incoming.call_id, keys, places, tag, incoming.secure))
            ours += [header for header in incoming.request.headers if header[0] == "record-route"]
    rest = [header for header in response.headers if header[0] not in _ANSWERED and header[0] not in _CHALLENGES]
    if not phone_flow.internal and privacy.hides(privacy.first_lines(rest)):
        rest = privacy.unnamed(rest)
    return Response(status, response.reason, [*headers, *ours, *rest], response.body)


def route_for(
    way: LegToProvider, phone_flow: Flow, call_id: str, keys: Sealer, places: Places, tag: str, secure: bool
) -> Header:
    """The Record-Route by which the phone's later requests find the provider, whose tag is ``tag``; ``secure``: by TLS
    all the way."""
    user = seal_way(way, call_id, keys, tag)
    return ("record-route", f"Record-Route: <{places.uri(phone_flow, user, secure)};lr>")


def provider_uri(user: str, call_id: str, keys: Sealer) -> str:
    """The Request-URI of what the phone sends to a URI of ours with ``user``: the provider's own Contact. Any other
    would let the phone ask for what it likes in the account's name. Raises BadLegToken."""
    contact = open_contact(user, call_id, keys)
    if contact is None:
        raise BadLegToken("not a Contact of ours")
    return contact[0]


def make_in_dialog(invite: Request, response: Response, method: str, branch: str) -> Request:
    """The ACK of a 2xx to ``invite``, or the BYE after it, in the dialog that it made (§12.2.1.1)."""
    uri = _contact(response) or invite.uri
    headers: list[Header] = []
    for key, line in invite.headers:
        if key == "via":
            sent_by = line.partition(";branch=")[0]
            headers.append((key, f"{sent_by};branch={branch};rport"))
        elif key == "to":
            headers.append((key, f"To: {response.get('to')}"))
        elif key == "cseq":
            cseq, _ = parse_cseq(value_of(line))
            headers.append((key, f"CSeq: {cseq if method == 'ACK' else cseq + ATTEMPTS} {method}"))
        elif key in ("from", "call-id", "max-forwards"):
            headers.append((key, line))
    return Request(method, uri, _sized(headers, b""))


def routes_of(response: Response) -> list[Header]:
    """The Route header fields of a dialog that ``response`` has made, for its caller's side (§12.1.2)."""
    return [("route", f"Route: {route}") for route in reversed(response.split_values("record-route"))]


# From the provider to the phone


def request_in(
    incoming: Incoming,
    way: LegToProvider,
    phone: LegToPhone,
    uri: str,
    branch: str,
    keys: Sealer,
    places: Places,
    cseq: int,
    invite: int = 0,
) -> Request:
    """What the phone gets of a provider's request. ``way`` is where the phone's own requests shall go; ``cseq`` is the
    number of the request there, ``invite`` that of the INVITE which a PRACK is about (0: it names none)."""
    request = incoming.request
    flow = phone.flow
    call_id = phone_call_id(incoming.call_id, phone, keys)
    if incoming.to_tag and phone.back is not None:
        way = replace(phone.back, flow=way.flow)
    # To another provider nothing is shown but what that one's account says.
    hidden = (phone.withheld or privacy.hides(incoming.first)) and not flow.internal
    if hidden and not incoming.to_tag:
        way = replace(way, to_uri=_sender(request))
    tag = phone.dialog.tags[0] if phone.dialog is not None else incoming.from_tag
    headers: list[Header] = [("via", places.via(flow, branch))]
    if not incoming.to_tag and request.method == "INVITE" and not flow.internal:
        headers.append(route_for(way, flow, call_id, keys, places, tag, incoming.secure))
    headers.append(("max-forwards", f"Max-Forwards: {incoming.max_forwards - 1}"))
    for key, line in request.headers:
        if key == "call-id":
            line = f"Call-ID: {call_id}"
        elif key == "contact" and (contact := _contact(request)):
            known = replace(way, contact=contact, routes=tuple(request.split_values("record-route")) or way.routes)
            seen = _seen_contact(known, flow, call_id, keys, places, tag, incoming.secure)
            line = f"Contact: <{seen}>"
        elif key == "cseq":
            line = f"CSeq: {cseq} {request.method}"
        elif key == "rack":
            line = _rack(line, invite) if invite else line
        elif phone.dialog is not None and key in ("from", "to"):
            line = f"From: {phone.dialog.local}" if key == "from" else f"To: {phone.dialog.remote}"
        elif key in ("max-forwards", "authorization", "proxy-authorization"):
            continue
        elif key == "record-route" and flow.internal:
            continue  # the Contact has them
        headers.append((key, line))
    if hidden:
        headers = privacy.withhold(headers)
    return Request(request.method, uri, _sized(headers, request.body), request.body)


def response_out(
    response: Response, incoming: Incoming, phone: LegToPhone, provider_flow: Flow, keys: Sealer, places: Places
) -> Response:
    """The phone's answer as the provider gets it."""
    headers = _answered(response, incoming)
    if 100 < response.status < 300 and (contact := _contact(response)):
        seen = contact_for(phone, provider_flow, incoming.call_id, keys, places, contact, incoming.secure)
        headers.append(("contact", f"Contact: <{seen}>"))
    headers += [header for header in incoming.request.headers if header[0] == "record-route"]
    rest = [header for header in response.headers if header[0] in _OUT]
    headers, body = _readable(response, [*headers, *rest], phone.flow, places)
    return Response(response.status, response.reason, _sized(headers, body), body)


def _published(
    message: Request | Response, headers: list[Header], phone_flow: Flow, places: Places
) -> tuple[list[Header], bytes]:
    """Its body, with the phone's public address in place of private ones, and ``headers`` as that has them. What
    another provider sends is public, and so are the edges, where media are relayed."""
    if phone_flow.internal:
        return headers, message.body
    kind, coding = message.get("content-type") or "", message.get("content-encoding") or ""
    body, decoded = published(message.body, kind, phone_flow.host, coding, places.outside)
    return [header for header in headers if not decoded or header[0] != "content-encoding"], body


def _readable(
    message: Request | Response, headers: list[Header], phone_flow: Flow, places: Places
) -> tuple[list[Header], bytes]:
    """The same, or without a body that nobody here can read: private addresses don't leave in it."""
    try:
        return _published(message, headers, phone_flow, places)
    except UnreadableBody:
        return [header for header in headers if header[0] not in _OF_BODIES], b""


def _seen_contact(
    way: LegToProvider, phone_flow: Flow, call_id: str, keys: Sealer, places: Places, tag: str, secure: bool
) -> str:
    """The Contact that the phone gets for the provider's. Where the next provider stands in its place, the URI has to
    be enough by itself."""
    if phone_flow.internal:
        return places.uri(phone_flow, seal_way(way, call_id, keys, tag), secure)
    return places.uri(phone_flow, seal_contact(way.contact, way.attempt, call_id, keys), secure)


def contact_for(
    phone: LegToPhone,
    provider_flow: Flow,
    call_id: str,
    keys: Sealer,
    places: Places,
    contact: str = "",
    secure: bool = False,
) -> str:
    """The Contact URI that a provider gets for a phone; ``contact`` is the phone's own; ``secure``: what is sent to it
    doesn't leave TLS."""
    if contact:
        phone = replace(phone, contact=contact)
    return places.uri(provider_flow, seal_way(phone, call_id, keys), secure)


def phone_call_id(call_id: str, phone: LegToPhone, keys: Sealer) -> str:
    """The Call-ID by which the phone knows the call. Raises BadLegToken."""
    if phone.dialog is not None:
        return phone.dialog.call_id
    return open_call_id(call_id, keys) if phone.translated else call_id


def phone_tags(incoming: Incoming, phone: LegToPhone) -> tuple[str, str]:
    """The dialog's tags as the phone knows them: the provider's, and its own."""
    return phone.dialog.tags if phone.dialog is not None else (incoming.from_tag, incoming.to_tag)


def call_id_at_provider(call_id: str, way: LegToProvider, keys: Sealer) -> str:
    """The Call-ID by which the provider knows the call that the phone knows by ``call_id``."""
    if way.dialog is not None:
        return way.dialog.call_id
    return seal_call_id(call_id, keys, way.sealed) if way.translated else call_id


def dialog_at_provider(incoming: Incoming, way: LegToProvider, keys: Sealer) -> DialogNames:
    """The provider's dialog, in which the phone sends ``incoming``."""
    if way.dialog is not None:
        return way.dialog
    local, remote = incoming.value("from") or "", incoming.value("to") or ""
    if way.translated:
        local = f"{way.from_value};tag={incoming.from_tag}"
    if way.to_uri:
        remote = f"<{way.to_uri}>;tag={incoming.to_tag}"
    return DialogNames(call_id_at_provider(incoming.call_id, way, keys), local, remote)


def dialog_at_phone(incoming: Incoming) -> DialogNames:
    """The phone's dialog, in which it sends ``incoming``, as we have it."""
    return DialogNames(incoming.call_id, incoming.value("to") or "", incoming.value("from") or "")


def _our_contact(incoming: Incoming, keys: Sealer) -> tuple[str, int] | None:
    """What the Contact says that the request is sent to, if it is one of ours."""
    try:
        return open_contact(incoming.uri.user, incoming.call_id, keys)
    except BadLegToken:
        return None


def _answered(response: Response, incoming: Incoming) -> list[Header]:
    """§8.2.6 once more, for the side that asked: its own Via, From, Call-ID and CSeq, and the To that has a tag now."""
    tag = tag_of(response.get("to") or "")
    headers: list[Header] = []
    for key, line in incoming.request.headers:
        if key in ("via", "from", "call-id", "cseq"):
            headers.append((key, line))
        elif key == "to":
            headers.append((key, f"{line};tag={tag}" if tag and not tagged(line) else line))
    return headers


def racked(incoming: Incoming) -> int:
    """The CSeq number of the INVITE that a PRACK is about (RFC 3262 §7.2); 0 if it doesn't say so, or is none."""
    parts = (incoming.value("rack") or "").split()
    return (number_of(parts[1], 2**31 - 1) or 0) if len(parts) == 3 else 0


def _rack(line: str, invite: int) -> str:
    """With the number of the INVITE as its answerer knows it."""
    parts = value_of(line).split()
    return f"RAck: {parts[0]} {invite} {parts[2]}" if len(parts) == 3 else line


def _contact(message: Request | Response) -> str:
    """The URI of the first Contact, as requests to it have it; "" if there is none that can be read."""
    value = message.get("contact")
    if not value:
        return ""
    try:
        return request_uri(NameAddr.parse(split_list(value)[0]).uri)
    except ParseError:
        return ""


def _sender(request: Request) -> str:
    """The URI of From; "" if it can't be read."""
    try:
        return NameAddr.parse(request.get("from") or "").uri
    except ParseError:
        return ""


def _sized(headers: list[Header], body: bytes) -> list[Header]:
    """With one Content-Length, and the right one: on a stream it tells where the next message begins."""
    rest = [header for header in headers if header[0] != "content-length"]
    return [*rest, ("content-length", f"Content-Length: {len(body)}")]
