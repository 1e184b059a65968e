"""What the control plane answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from lambdas.contract.binding import ContactBinding, Push
from lambdas.contract.media import MediaPolicy
from lambdas.contract.provider import ProviderLeg, Secret, Server
from lambdas.contract.wire import Envelope, Wire, WireFlow


class Binding(ContactBinding):
    """A binding as registered."""

    id: str
    """11 characters, 8 octets in base64url: see ``binding_id``. It names the binding in flow tokens."""
    expires: int
    """Seconds from now."""
    key: str = ""
    """What ``id`` was made from, as in a ContactField; "": not told. Since version 8."""
    call_id: str = ""
    """Of the REGISTER that it is by; "": not told. Since version 9."""


class Challenge(Wire):
    """Ask for credentials again: the ones given can't be checked."""

    kind: Literal["challenge"] = "challenge"
    algorithms: list[str] = []
    """Those to ask for, in this order: whoever has shown credentials is right, but not by one of these. None: as the
    edge thinks best. Since version 9."""


class Reject(Wire):
    """Answer with this."""

    kind: Literal["reject"] = "reject"
    status: int
    """The final response's, 300 or higher."""
    reason: str = ""
    """Its reason phrase; "": the usual one."""
    min_expires: int | None = None
    """Seconds, with 423; None: no Min-Expires header field."""
    retry_after: int | None = None
    """Seconds, with 503; None: no Retry-After header field."""
    contact: str = ""
    """A URI, with 302; "": no Contact header field. Since version 3."""
    tenant: str = ""
    """Whose request is refused, for the record of a call: he has shown who he is. "": nobody's. Since version 5."""
    absent: list[str] = []
    """The accounts that would have been rung if the phones that are meant were there. Since version 9."""


class Grant(Wire):
    """Lets the edge answer the account's refreshes, and with no control plane in reach its calls, by itself.
    Since version 2."""

    tenant: str
    """Whose account it is."""
    version: int
    """Of the account's last change, in milliseconds: a later one in the change feed revokes the grant."""
    ha1_md5: str = Field(repr=False)
    """HA1 (RFC 7616 §3.4.2) of MD5, in lower-case hexadecimal."""
    ha1_sha256: str = Field(repr=False)
    """HA1 of SHA-256, in lower-case hexadecimal."""
    ha1_md5_qualified: str = Field(default="", repr=False)
    """HA1 of MD5 for ``qualified`` credentials; "": of a password that was set before there were any. Since
    version 8."""
    ha1_sha256_qualified: str = Field(default="", repr=False)
    """HA1 of SHA-256 for these. Since version 8."""
    digest: Literal["", "md5", "sha256", "both"] = ""
    """Which algorithms its phones are asked to answer by: these only, or both, SHA-256 first (RFC 8760); "": as the
    edge thinks best. With "sha256" answers by MD5 are refused. Since version 9."""
    media: MediaPolicy = "auto"
    """What it, or its tenant, wants of its calls' media: for calls without a decision. Since version 10."""
    site: str = ""
    """The place where its phones are, as its tenant names it: for these calls, too. "": not told. Since version 10."""


class Accept(Wire):
    """The REGISTER is accepted."""

    kind: Literal["accept"] = "accept"
    bindings: list[Binding]
    """All that the AOR has now, on whatever edge, with durable expiries."""
    grant: Grant | None = None
    """None: every REGISTER has to be asked for. Since version 2."""
    services: list[Push] = []
    """The push notification services that the account's phones may be woken by, of each its ``provider`` and
    ``vapid``, where the REGISTER asks for them. Since version 9."""


class Target(Wire):
    """Where to forward. It is tried together with the others of its stage."""

    uri: str
    """The new Request-URI."""
    flow: WireFlow
    """The flow to send it on. With a ``provider`` its remote address is empty: the provider's server has to be
    resolved."""
    binding: str
    """The id of the binding that it stands for; "": none."""
    q: int = 1000
    """The Contact's, in thousandths."""
    provider: ProviderLeg | None = None
    """The provider that it goes through; None: it is a phone. Since version 3."""
    after: float = 0.0
    """Seconds after which it is tried, or once all others have failed. Since version 3."""
    headers: list[str] = []
    """Whole lines that go with it. Since version 3."""
    instead: list[Target] = []
    """Who is tried, one after the other, if it fails with one of NOBODYS_ANSWER. Since version 4."""
    aor: str = ""
    """Whose phone it is; "": at a provider. Since version 4."""
    diverted: str = ""
    """The URI of whoever has the call go there instead of taking it, for Diversion and History-Info; "": nobody.
    Since version 4."""
    account: str = ""
    """The AOR that the call counts to; "": the caller. Since version 4."""
    path: list[str] = []
    """The Route values that lead from the flow to the phone (RFC 3327 §5.4). Since version 8."""
    sleeps: bool = False
    """It may sleep: where its flow is dead, or silent, a PushQuestion has it woken. Since version 9."""
    subscribed: bool = False
    """It has subscribed to its account's message summary (RFC 3842), as the edge says that has its flow: only edges
    tell each other. Since version 8."""
    instance: str = ""
    """RFC 5626 §4.1, as in a ContactBinding; "": none. Since version 9."""
    reg_id: int = 0
    """RFC 5626 §4.2: of targets of one AOR and instance that have one, one is tried at a time, the one that was
    registered last first. 0: absent. Since version 9."""
    registered_at: int = 0
    """When its phone has registered it, as far as whoever says so knows: Unix time in milliseconds. 0: not told. Since
    version 9."""
    media: MediaPolicy = "auto"
    """Which way its media take: what both ends of the call want, combined. Since version 10."""
    one_site: bool = False
    """The tenant says that the caller's phones and it are at one place, so where the network looks as if they were in
    one, they are. Since version 10."""
    echo: bool = False
    """It is the echo number: the caller's edge answers by itself, and its relay sends the caller's own media back.
    There is no way to it; ``uri`` is for the record. Since version 10."""


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
    "redirected": (300, 301, 302),
    "unreachable": (404, 410, 430, 480, 500, 502, 503, 504),
}
"""The statuses that each way to fail stands for."""
NOBODYS_ANSWER = (408, 430, 500, 501, 502, 503, 504, 505, 513, 580)
"""Statuses that aren't the callee's answer: somebody else may do better."""


class Stage(Wire):
    """Targets tried together. Since version 3."""

    targets: list[Target]
    """None: it counts as tried, and failed with ``status``."""
    when: list[int] = []
    """It is tried if the outcome so far is among these; none: whatever it is. Since version 3."""
    timeout: float = 0.0
    """Seconds after which those that haven't answered are cancelled, which counts as 408; 0: as long as it may ring.
    Since version 3."""
    status: int = 480
    """See ``targets``. Since version 4."""
    early_media: Literal["pass", "ringing"] = "pass"
    """What they play before they answer is passed on, or the caller hears ringing. Since version 4."""
    max_duration: int = 0
    """Seconds after which a call that one of them answers is ended; 0: never. Since version 4."""
    part_of: int = -1
    """The stage goes with the one of that number (the first is 0), and is left out with it; -1: with none.
    Since version 4."""
    absent: list[Target] = []
    """Accounts without a phone just now (``aor``, and no way there), for when the decision is kept. Since version 4."""
    end: Reject | None = None
    """Not None: it is the last stage, and this is answered. Since version 4."""
    again: str = ""
    """Not "": it is the last stage, and the question is put once more with this. Since version 4."""


class Keep(Wire):
    """How far a decision holds for other calls. Since version 4."""

    caller: str = ""
    """For calls of this one to the same destination, with the phones that its targets' AORs have then; "": of
    anybody."""
    seconds: int
    """How long."""
    plans: list[str] = []
    """Ids of the dial plans that it rests on."""
    site: str = ""
    """The caller's, as in a Grant: for callers elsewhere no target's ``one_site`` holds. Since version 10."""


class ScopeLimits(Wire):
    """What one of those who pay for a call may do, and what they had used when it was decided: for calls that have to
    do without a decision. Since version 7."""

    scope: str
    """An account's AOR, a tenant's id, or what counts an account's emergency calls: as in ``counted``."""
    concurrent_calls: int | None = None
    """None: no limit, as with the others."""
    calls_per_minute: int | None = None
    """In a minute of Unix time."""
    calls_per_day: int | None = None
    """On a day of UTC."""
    daily_spend: float | None = None
    """In the unit of the tenant's rates."""
    today: int = 0
    """Calls of the day, the one that was decided included."""
    spent: float = 0.0
    """The day's cost, calls under way included as far as they had come."""


class Route(Stage):
    """What to do with a request: itself the first stage. When all have failed the best answer goes back."""

    kind: Literal["route"] = "route"
    tenant: str = ""
    """Whose call it is; "": nobody's, and it isn't recorded. Since version 2."""
    when: list[int] = []
    """As of any stage. Since version 4."""
    stages: list[Stage] = []
    """Those that are tried then, one after the other. Since version 3."""
    transfers: bool = False
    """REFER may pass in a call that a provider has made. Since version 3."""
    keep: Keep | None = None
    """How far it may be used when none can be had; None: not at all. Since version 4."""
    counted: list[str] = []
    """Who is counting the call, which comes back in its reports. Since version 5."""
    limits: list[ScopeLimits] = []
    """Those of all who count it. Since version 7."""
    provider: str = ""
    """The id of the provider account that the call came by; "": the one that the question named. Since version 8."""
    summary: str = ""
    """The latest message summary of whoever is called (RFC 3842), where the question was about a SUBSCRIBE; "": nobody
    has told of any. Since version 8."""
    relayed_calls: dict[str, int] = {}
    """How many relayed calls at once may count to an account, and to the tenant, at one edge address: by AOR, and by
    the tenant's id, of all to whom this call may count. Who isn't named has no limit. Since version 10."""


class Proceed(Wire):
    """The request may go on in its dialog. Since version 7."""

    kind: Literal["proceed"] = "proceed"


class Access(Wire):
    """What answers the challenges of a provider inside a call that goes through it. Since version 3."""

    kind: Literal["access"] = "access"
    secret: Secret
    """The provider account's."""
    server: Server | None = None
    """Where it is. Since version 9."""


Decision = Challenge | Reject | Accept | Route | Access | Proceed


class DecisionEnvelope(Envelope):
    """The control plane's answer to a question."""

    decision: Annotated[Decision, Field(discriminator="kind")]
    """Its ``kind`` says which; one that the edge doesn't know is answered to the phone as 500."""
