"""What the control plane answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lambdas.contract.provider import ProviderLeg, Secret
from lambdas.contract.question import Wire, WireFlow


class Binding(Wire):
    """A binding as registered. ``id`` (11 characters, 8 octets in base64url) names it in flow tokens; ``expires`` is
    in seconds from now; ``contact`` is the Contact URI; ``aor`` has the canonical domain."""

    id: str
    aor: str
    contact: str
    expires: int
    flow: WireFlow
    q: int = 1000
    instance: str = ""
    reg_id: int = 0


class Challenge(Wire):
    """Ask for credentials again: the ones given can't be checked."""

    kind: Literal["challenge"] = "challenge"


class Reject(Wire):
    """Answer with ``status`` and ``reason``; ``min_expires`` in seconds goes with 423, ``retry_after`` with 503,
    ``contact`` (a URI) with 302."""

    kind: Literal["reject"] = "reject"
    status: int
    reason: str = ""
    min_expires: int | None = None
    retry_after: int | None = None
    contact: str = ""


class Grant(Wire):
    """Lets the edge answer the account's refreshes, and with no control plane in reach its calls, by itself.
    ``version`` (milliseconds) is that of the account's last change: a later one in the change feed revokes the grant.
    The HA1 values are lower-case hexadecimal."""

    tenant: str
    version: int
    ha1_md5: str = Field(repr=False)
    ha1_sha256: str = Field(repr=False)


class Accept(Wire):
    """The REGISTER is accepted; ``bindings`` are all that the AOR has now, on whatever edge, with durable expiries."""

    kind: Literal["accept"] = "accept"
    bindings: list[Binding]
    grant: Grant | None = None


class Target(Wire):
    """Where to forward: the new Request-URI, the flow to send it on and the binding it stands for. With a ``provider``
    the flow's remote address is empty: the provider's server has to be resolved. It is tried ``after`` seconds, or
    once all others have failed; ``headers`` (whole lines) go with it."""

    uri: str
    flow: WireFlow
    binding: str
    q: int = 1000
    provider: ProviderLeg | None = None
    after: float = 0.0
    headers: list[str] = []


NOBODYS_ANSWER = (408, 430, 500, 501, 502, 503, 504, 505, 513, 580)
"""Statuses that aren't the callee's answer: somebody else may do better."""


class Stage(Wire):
    """Targets tried together, if the outcome so far is among ``when`` (empty: whatever it is); without targets it
    counts as tried, and failed with 480. After ``timeout`` seconds (0: as long as it may ring) those that haven't
    answered are cancelled, which counts as 408."""

    targets: list[Target]
    when: list[int] = []
    timeout: float = 0.0


class Route(Wire):
    """Forward to all ``targets`` at once, for ``timeout`` seconds, as in a Stage. ``tenant``: whose call it is.
    ``stages``: what to try then, one after the other; ``otherwise``: what to answer when all have failed, instead of
    the best answer; ``transfers``: whether REFER may pass in a call that a provider has made."""

    kind: Literal["route"] = "route"
    targets: list[Target]
    tenant: str = ""
    timeout: float = 0.0
    stages: list[Stage] = []
    otherwise: Reject | None = None
    transfers: bool = False


class Access(Wire):
    """What answers the challenges of a provider inside a call that goes through it."""

    kind: Literal["access"] = "access"
    secret: Secret


Decision = Challenge | Reject | Accept | Route | Access


class DecisionEnvelope(Wire):
    version: int
    decision: Annotated[Decision, Field(discriminator="kind")]
