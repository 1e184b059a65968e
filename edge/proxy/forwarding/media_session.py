"""Which session of a media engine a call has: every edge finds it from whatever request of the call it gets."""

from __future__ import annotations

import hashlib

from edge.providers.leg_token import LegToPhone, LegToProvider, RelayedMedia
from edge.proxy.forwarding.record_route import DialogRoute, DialogTarget
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.flow_token import CallReference
from edge.sip.errors import ParseError
from edge.sip.headers import Via
from edge.sip.incoming import Incoming

_KEY = 32  # characters
_MOST_LAPS = 15


def begun_by(incoming: Incoming, call: CallReference) -> RelayedMedia:
    """Of the call that an INVITE begins: at the caller's edge address, whoever is called. Call-ID and tag are the
    caller's to choose; ``call`` says what isn't."""
    return RelayedMedia(incoming.flow.address, _key(incoming.call_id, incoming.from_tag, call))


def in_dialog(incoming: Incoming, target: DialogTarget, caller_address: str) -> RelayedMedia | None:
    """Of the call that a request is of, as its tokens say; None if it isn't relayed. Across a border they name it,
    since the other side may know the call by other names; between phones they have room for a flag only.
    ``caller_address``: as in DialogRoute."""
    if isinstance(target, LegToPhone | LegToProvider):
        return target.media
    call = target.call
    if not call.relayed:
        return None
    tag = incoming.to_tag if call.to_caller else incoming.from_tag
    return RelayedMedia(caller_address or incoming.flow.address, _key(incoming.call_id, tag, call))


def of_route(incoming: Incoming, route: DialogRoute) -> RelayedMedia | None:
    """The same for what a request's Route says."""
    return in_dialog(incoming, route.target, route.caller_address)


def laps(incoming: Incoming, fleet: Fleet) -> int:
    """How often a request has passed edges of ours: with one Call-ID and tag it may be more than one call (a spiral,
    RFC 3261 §6)."""
    if not incoming.forwarded:
        return 0
    vias = [text for value in incoming.request.values("via") for text in value.split(",")]
    return min(sum(_is_ours(text, fleet) for text in vias), _MOST_LAPS)


def between(address: str, token: str) -> RelayedMedia:
    """Of a call that has become of two; ``token`` is one that nobody else has."""
    return RelayedMedia(address, hashlib.sha256(token.encode()).hexdigest()[:_KEY])


def _is_ours(text: str, fleet: Fleet) -> bool:
    try:
        return bool(fleet.address_at(Via.parse(text).host))
    except ParseError:
        return False


def _key(call_id: str, tag: str, call: CallReference) -> str:
    text = "\0".join((call_id, tag, call.tenant, str(call.started), str(call.lap)))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_KEY]
