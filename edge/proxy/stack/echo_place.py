"""Where the echo number is: at the caller's own edge address, which it reaches as it would a phone."""

from __future__ import annotations

from edge.sip.incoming import Incoming
from edge.sip.places import Places
from lambdas.contract import Target

ECHO = "echo"
"""The user part of its Contact."""


def at_own_edge(target: Target, incoming: Incoming, places: Places) -> Target:
    """The way to it, for the ``target`` that stands for it in a decision about ``incoming``."""
    around = incoming.flow.around
    return target.model_copy(update={"uri": places.uri(around, ECHO, incoming.secure), "flow": around.wire})


def is_echo(incoming: Incoming) -> bool:
    """Whether a request whose Route has been taken off is for the echo number."""
    return incoming.flow.internal and incoming.uri.user == ECHO
