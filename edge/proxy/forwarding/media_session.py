"""Which session of a media engine a call has: every edge finds it from whatever request of the call it gets."""

from __future__ import annotations

import hashlib

from edge.providers.leg_token import LegToPhone, LegToProvider, RelayedMedia
from edge.proxy.forwarding.record_route import DialogRoute, DialogTarget
from edge.proxy.stack.flow_token import CallReference
from edge.sip.incoming import Incoming

_KEY = 32  # characters
_MOST_AT_ONCE = 16


class SessionNames:
    """Names the sessions of calls that begin here. One INVITE may come more than once within a second, by a proxy that
    forks or brings it back (a spiral, RFC 3261 §6): each is a call of its own."""

    def __init__(self) -> None:
        self._second = 0
        self._taken: set[str] = set()

    def begun_by(self, incoming: Incoming, call: CallReference) -> tuple[RelayedMedia | None, int]:
        """Of the call that an INVITE begins: at the caller's edge address, whoever is called; and what ``call.nth`` is
        by then. Call-ID and tag are the caller's to choose; ``call`` says what isn't. None if there are too many."""
        if call.started > self._second:
            self._second = call.started
            self._taken.clear()
        for nth in range(_MOST_AT_ONCE):
            key = _key(incoming.call_id, incoming.from_tag, call._replace(nth=nth))
            if key not in self._taken:
                self._taken.add(key)
                return RelayedMedia(incoming.flow.address, key), nth
        return None, 0


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


def between(address: str, token: str) -> RelayedMedia:
    """Of a call that has become of two; ``token`` is one that nobody else has."""
    return RelayedMedia(address, hashlib.sha256(token.encode()).hexdigest()[:_KEY])


def _key(call_id: str, tag: str, call: CallReference) -> str:
    text = "\0".join((call_id, tag, str(call.started), str(call.nth)))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_KEY]
