"""Calls that go from one provider on to another: they leave this proxy as a call to a phone and come back to it at once
as a call by that phone (a spiral, RFC 3261 §6), so that each border is crossed as it always is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from edge.providers.leg_token import RelayedMedia
from edge.proxy.stack.flow_token import CallReference
from edge.sip.ids import Ids
from edge.sip.incoming import Incoming
from edge.sip.places import Places
from lambdas.contract import Target

_MOST = 1000  # under way; each takes no longer than it takes to be handed on


class Around(NamedTuple):
    """What was sent around: whom it is for, after which outcome, the call, and how to learn where its media are relayed
    by then (None: they aren't)."""

    target: Target
    outcome: int
    call: CallReference
    session: Callable[[], RelayedMedia | None]


class Spirals:
    """What was sent around and hasn't come back yet, by unguessable names that stand in the Request-URI."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._targets: OrderedDict[str, Around] = OrderedDict()

    def around(
        self,
        target: Target,
        incoming: Incoming,
        places: Places,
        outcome: int,
        call: CallReference,
        session: Callable[[], RelayedMedia | None],
    ) -> Target:
        """A stand-in for ``target`` that leads back here; ``incoming`` is the request of ``call``."""
        name = self._ids.token()
        self._targets[name] = Around(target.model_copy(update={"instead": [], "after": 0.0}), outcome, call, session)
        if len(self._targets) > _MOST:
            self._targets.popitem(last=False)
        around = incoming.flow.around
        here = {"uri": places.uri(around, name, incoming.secure), "flow": around.wire, "provider": None}
        return target.model_copy(update={**here, "diverted": "", "headers": []})

    def take(self, incoming: Incoming) -> Around | None:
        """What a request has come back for; None if it is none of these."""
        return self._targets.pop(incoming.uri.user, None) if incoming.flow.internal else None
