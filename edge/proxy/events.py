"""What goes into the core (events) and what comes out (actions)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from edge.proxy.fleet import Fleet
from edge.sip.flow import Flow
from lambdas.contract import BindingChange, Decision, Question


class Received(NamedTuple):
    """One whole message came in on ``flow``, or crossed the mesh to us as the owner of its branch."""

    flow: Flow
    data: bytes


class Decided(NamedTuple):
    """The answer to the question ``ask``; None if it failed or took too long."""

    ask: str
    decision: Decision | None


class SendFailed(NamedTuple):
    """What ``Send`` with this ``ref`` was to send, or the connection it went by, is lost."""

    ref: str


class FlowClosed(NamedTuple):
    """The connection is gone."""

    flow: Flow


class FleetChanged(NamedTuple):
    """A heartbeat brought news."""

    fleet: Fleet


@dataclass(frozen=True, slots=True)
class BindingsChanged:
    """Bindings on our edge addresses as the control plane has them, at the start and after changes made elsewhere."""

    changes: list[BindingChange]


class Tick(NamedTuple):
    """``Core.deadline`` has been reached."""


Event = Received | Decided | SendFailed | FlowClosed | FleetChanged | BindingsChanged | Tick


class Send(NamedTuple):
    """Send ``data`` on ``flow``, here or through the edge that holds its address. If that can't be done and ``ref``
    isn't empty, a SendFailed with it comes back."""

    flow: Flow
    data: bytes
    ref: str


class Relay(NamedTuple):
    """Hand a response to edge ``owner``, whose transaction it belongs to."""

    owner: str
    flow: Flow
    data: bytes


class Ask(NamedTuple):
    """Put ``question`` to the control plane; ``Decided`` with the same ``ask`` must follow within 5 s."""

    ask: str
    question: Question


Action = Send | Relay | Ask


class Ids(Protocol):
    """Where unguessable identifiers come from."""

    def token(self) -> str:
        """A fresh token (RFC 3261 §25.1) without dots, of at least 64 random bits."""

    def salt(self) -> bytes:
        """Four random octets."""
