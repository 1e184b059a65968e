"""A phone's redirection of its calls (RFC 3261 §8.1.3.4, §16.7 step 4): where to, as the control plane is asked."""

from __future__ import annotations

from typing import NamedTuple

from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.own_places import OwnPlaces
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, parse_params
from edge.sip.message import Response
from edge.sip.uri import Uri
from lambdas.contract import OUTCOMES

FOLLOWED = OUTCOMES["redirected"]
"""Statuses whose Contacts are where the call is to go; 305 names a way there, and 380 another service."""


class Deflection(NamedTuple):
    """``by`` is the AOR whose phone has redirected the call; ``to`` an AOR, a number, or a SIP URI elsewhere."""

    by: str
    to: str


def redirected_to(response: Response, at: Flow, own: OwnPlaces, fleet: Fleet) -> tuple[str, bool]:
    """The likeliest Contact (§20.10: that with the highest q) of ``response``, as in a Deflection, and whether it is to
    be reached by TLS all the way; "" without any that can be called. ``at`` is how the call came: where that wasn't by
    TLS a ``sips:`` Contact is none (RFC 5630 §3)."""
    try:
        contacts = [NameAddr.parse(value) for value in response.split_values("contact")]
        found = [(_q(contact), contact.uri, _destination(contact.uri, at, own, fleet)) for contact in contacts]
    except ParseError:
        return "", False
    _, uri, to = max((one for one in found if one[2]), key=lambda one: one[0], default=(0.0, "", ""))
    return to, uri[:5].lower() == "sips:"


def _q(contact: NameAddr) -> float:
    try:
        return float(parse_params(contact.params).get("q", 1.0))
    except ValueError:
        return 1.0


def _destination(text: str, at: Flow, own: OwnPlaces, fleet: Fleet) -> str:
    scheme, _, rest = text.partition(":")
    if scheme.lower() == "tel":
        return rest.partition(";")[0]
    uri = Uri.parse(text)
    if uri.scheme not in ("sip", "sips") or not uri.host or (uri.scheme == "sips" and not at.secure):
        return ""
    domain = fleet.canonical(uri.host)
    if domain is not None and (uri.host in fleet.domains or own.has(uri, at, fleet)):
        return uri.at(domain) if uri.user else ""
    return f"sip:{text.partition(':')[2].partition('?')[0]}"
