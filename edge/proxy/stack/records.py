"""What is kept on the edge's disk for a restart while the control plane is out of reach: a record for each AOR, with
its grant and its bindings here, and the decisions that may be used again. The grants hold password-equivalent hashes:
whoever stores records encrypts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from edge.proxy.location.bindings import ContactParams
from edge.sip.flow import Flow
from lambdas.contract import Grant, Push, Route


@dataclass(frozen=True, slots=True)
class BindingRecord:
    """``durable`` in seconds from when it was written; ``key`` and ``push`` as a HeldBinding's."""

    contact: str
    flow: Flow
    durable: float
    call_id: str
    tenant: str
    params: ContactParams
    path: tuple[str, ...] = ()
    key: str = ""
    push: Push | None = None


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """``at`` is the Unix time of writing."""

    grant: Grant
    bindings: list[BindingRecord]
    at: float


class RouteKey(NamedTuple):
    """``owner`` is the tenant of calls by accounts, the provider account of others; ``caller`` is "" for anybody."""

    owner: str
    called: str
    caller: str


@dataclass(frozen=True, slots=True)
class KeptRoute:
    """``until`` is Unix time."""

    route: Route
    until: float
