"""Whoever calls and isn't to be shown, as the phones that he calls see him (RFC 3323 §5): From names nobody, and
Contact is a URI of ours.

Theory of operation. Phones match dialogs by their tags, so From may be another one there. What the caller's own phone
has written, its Contact and From, is sealed into the Contact that the other side gets, and put back into what comes for
it; so no edge has to remember the call. That the caller's further requests have to look the same his side's flow token
says. Responses go back with the From and To of the request that they answer."""

from __future__ import annotations

import json
from typing import NamedTuple

from edge.proxy.forwarding.gruu_contacts import with_contact
from edge.proxy.forwarding.messages import CLAIMS, conceal_push, forward_request
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.flow_token import CallReference, TokenKeys
from edge.sip import base64url, privacy
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, split_list, tag_of, value_of
from edge.sip.incoming import Incoming
from edge.sip.message import Header, Request, Response, tagged
from edge.sip.uri import Uri
from lambdas.contract import way_sealed_for

_KIND = "a."
_SAID = CLAIMS | {"privacy"}
_LONGEST = 2000  # characters of a user part


class Veiled(NamedTuple):
    """Who is behind a Contact of ours: the phone's own Contact URI, and the URI by which it knows itself in the
    dialog."""

    contact: str
    known_as: str


def withholds(incoming: Incoming, call: CallReference) -> bool:
    """Whether who has sent a request, in ``call`` or beginning one, isn't to be shown to the phone that it goes to."""
    if incoming.to_tag and call.withheld and not call.to_caller:
        return True
    if privacy.hides(incoming.first):
        return True
    if incoming.to_tag:
        return False
    sender = incoming.from_uri()
    return privacy.is_anonymous(sender.user, sender.host)


def phone_request(
    incoming: Incoming,
    uri: str,
    flow: Flow,
    branch: str,
    routes: list[Header],
    fleet: Fleet,
    withheld: bool,
) -> tuple[Request, Veiled | None]:
    """The request for the phone at ``flow``, and who that is, if it isn't shown to its peer."""
    request = incoming.request
    veiled = _behind(uri, incoming.call_id, fleet.tokens) if incoming.to_tag else None
    target = veiled.contact if veiled is not None else uri
    made = forward_request(request, target, fleet.via(flow, branch), incoming.max_forwards, routes)
    made.headers = conceal_push(made.headers)
    if veiled is not None:
        made.headers = [_to(header, veiled.known_as, incoming.to_tag) for header in made.headers]
    if withheld:
        own = _uri_of(value_of(incoming.first["from"]))
        made.headers = _veil(privacy.withhold(made.headers), own, flow, incoming, fleet)
    return made, veiled


def phone_response(
    answer: Response, incoming: Incoming, veiled: Veiled | None, renamed: bool, fleet: Fleet, uri: str
) -> Response:
    """A phone's ``answer`` as its peer gets it: what a phone says of itself nobody vouches for (RFC 3325 §5), and who
    isn't to be shown isn't. ``renamed``: the phone has got another From or To than its peer has sent; ``uri`` is its
    own Contact."""
    said = [header for header in answer.headers if header[0] in _SAID]
    hides = bool(said) and privacy.hides(privacy.first_lines(said))
    if said:
        answer.headers = [header for header in answer.headers if header[0] not in CLAIMS]
    if veiled is not None or renamed:
        answer.headers = _addressed(answer.headers, incoming)
    answer.headers = conceal_push(answer.headers)
    if veiled is not None or hides:
        own = veiled.known_as if veiled is not None else incoming.to.uri
        answer.headers = privacy.unnamed(answer.headers)
        if answer.status < 300:  # the Contact of a redirection leads elsewhere
            headers = with_contact(answer, uri, fleet).headers
            answer.headers = _veil(headers, own, incoming.flow, incoming, fleet)
    return answer


def _veil(headers: list[Header], own: str, flow: Flow, incoming: Incoming, fleet: Fleet) -> list[Header]:
    """With a Contact of ours for the phone's, which knows itself as ``own``; ``flow`` leads to who gets it, and
    ``incoming`` is the request that it is about."""
    found: list[Header] = []
    for key, line in headers:
        contact = _uri_of(value_of(line)) if key == "contact" else ""
        if contact and contact != "*":
            plain = json.dumps([contact, own], separators=(",", ":")).encode("utf-8", "surrogateescape")
            user = _KIND + base64url.encode(fleet.tokens.seal_data(plain, way_sealed_for(_KIND, incoming.call_id)))
            line = f"Contact: <{fleet.uri(flow, user, incoming.secure)}>"
        found.append((key, line))
    return found


def _behind(uri: str, call_id: str, keys: TokenKeys) -> Veiled | None:
    """Who is behind ``uri``; None if it is nobody's of ours."""
    try:
        user = Uri.parse(uri).user
        if not user.startswith(_KIND) or len(user) > _LONGEST:
            return None
        plain = keys.open_data(base64url.decode(user[len(_KIND) :]), way_sealed_for(_KIND, call_id))
        contact, known_as = json.loads(plain)
    except ValueError:
        return None
    return Veiled(contact, known_as)


def _to(header: Header, uri: str, tag: str) -> Header:
    return (header[0], f"To: <{uri}>;tag={tag}") if header[0] == "to" else header


def _addressed(headers: list[Header], incoming: Incoming) -> list[Header]:
    """With From and To as whoever has asked knows them (RFC 3261 §8.2.6.2)."""
    found: list[Header] = []
    for key, line in headers:
        if key in ("from", "to"):
            tag = tag_of(value_of(line))
            line = incoming.first[key]
            if key == "to" and tag and not tagged(line):
                line = f"{line};tag={tag}"
        found.append((key, line))
    return found


def _uri_of(value: str) -> str:
    """Of the first address; "" if it can't be read."""
    try:
        return NameAddr.parse(split_list(value)[0]).uri
    except ParseError:
        return ""
