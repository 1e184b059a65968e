"""What the control plane answers."""

from __future__ import annotations

from collections.abc import Iterable
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
    ``contact`` (a URI) with 302; ``tenant``: whose call is refused, for its record ("": nobody's)."""

    kind: Literal["reject"] = "reject"
    status: int
    reason: str = ""
    min_expires: int | None = None
    retry_after: int | None = None
    contact: str = ""
    tenant: str = ""


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
    once all others have failed; ``headers`` (whole lines) go with it. ``instead``: who is tried, one after the other,
    if it fails with one of NOBODYS_ANSWER.

    ``aor`` is whose phone it is ("" at a provider); ``diverted`` the URI of whoever has the call go there instead of
    taking it ("" if nobody), for Diversion and History-Info; ``account`` the one that the call counts to (the caller if
    empty)."""

    uri: str
    flow: WireFlow
    binding: str
    q: int = 1000
    provider: ProviderLeg | None = None
    after: float = 0.0
    headers: list[str] = []
    instead: list[Target] = []
    aor: str = ""
    diverted: str = ""
    account: str = ""


Q_STEP = 15.0
"""Seconds that the phones with a higher q ring before those with the next lower one join them (RFC 3261 §16.6)."""


def q_delays(values: Iterable[int]) -> dict[int, float]:
    """After how many seconds the phones of each q ring."""
    return {q: Q_STEP * place for place, q in enumerate(sorted(set(values), reverse=True))}


def stand_in(aor: str) -> Target:
    """For the phones of an account, wherever they are."""
    return Target(uri="", flow=("", 0, "udp", "", 0, 0), binding="", aor=aor)


OUTCOMES: dict[str, tuple[int, ...]] = {
    "busy": (486, 600),
    "declined": (603, 607, 608),
    "no-answer": (408, 487),
    "unreachable": (404, 410, 430, 480, 500, 502, 503, 504),
}
"""The statuses that each way to fail stands for."""
NOBODYS_ANSWER = (408, 430, 500, 501, 502, 503, 504, 505, 513, 580)
"""Statuses that aren't the callee's answer: somebody else may do better."""


class Stage(Wire):
    """Targets tried together, if the outcome so far is among ``when`` (empty: whatever it is); without targets it
    counts as tried, and failed with ``status``. After ``timeout`` seconds (0: as long as it may ring) those that
    haven't answered are cancelled, which counts as 408. ``early_media``: what they play before they answer is passed
    on, or the caller hears ringing. A call that one of them answers is ended after ``max_duration`` seconds (0: never).

    ``part_of``: the stage goes with the one of that number (the first is 0), and is left out with it (-1: with none).
    ``absent`` are accounts without a phone just now (``aor``, and no way there), for when the decision is kept.
    With ``end`` or ``again`` it is the last one: that is answered, or the question is put once more with that."""

    targets: list[Target]
    when: list[int] = []
    timeout: float = 0.0
    status: int = 480
    early_media: Literal["pass", "ringing"] = "pass"
    max_duration: int = 0
    part_of: int = -1
    absent: list[Target] = []
    end: Reject | None = None
    again: str = ""


class Keep(Wire):
    """For ``seconds`` the same decision holds for calls of ``caller`` ("" : of anybody) to the same destination, with
    the phones that its targets' AORs have then. It rests on ``plans`` (ids)."""

    caller: str = ""
    seconds: int
    plans: list[str] = []


class Route(Stage):
    """What to do with a request: the first stage, and in ``stages`` those that are tried then, one after the other.
    When all have failed the best answer goes back. ``tenant``: whose call it is; ``transfers``: whether REFER may pass
    in a call that a provider has made; ``keep``: how far the decision may be used when none can be had;
    ``counted``: who is counting the call, which comes back in its reports."""

    kind: Literal["route"] = "route"
    tenant: str = ""
    stages: list[Stage] = []
    transfers: bool = False
    keep: Keep | None = None
    counted: list[str] = []


class Access(Wire):
    """What answers the challenges of a provider inside a call that goes through it."""

    kind: Literal["access"] = "access"
    secret: Secret


Decision = Challenge | Reject | Accept | Route | Access


class DecisionEnvelope(Wire):
    version: int
    decision: Annotated[Decision, Field(discriminator="kind")]
