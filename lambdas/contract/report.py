"""What an edge reports afterwards. Every report may come twice or late, and means the same each time. All of it since
version 2."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lambdas.contract.binding import ContactBinding
from lambdas.contract.media import MediaQuality, MediaWay
from lambdas.contract.wire import Envelope, Wire


class BindingReport(ContactBinding):
    """What became of a binding since it was last written. Since version 2."""

    kind: Literal["binding"] = "binding"
    key: str
    """What tells bindings of an AOR apart: as in a ContactField."""
    call_id: str
    """That of its last REGISTER."""
    cseq: int
    """That of its last REGISTER."""
    at: float
    """Unix time."""
    expires: int
    """Seconds from ``at``, as the edge has given them to the phone while no decision could be had; 0: the phone has
    stayed away, or unregistered meanwhile."""
    tenant: str
    """Whose account it is."""


class Side(Wire):
    """What one end of a call would send in its dialog. Whoever ends the call sends a BYE like that in its name.
    Since version 4."""

    uri: str
    """The Request-URI: the other end's target."""
    routes: list[str] = []
    """The Route values, in order."""
    sender: str
    """The value of From, with its tag."""
    receiver: str
    """The value of To, with its tag."""
    call_id: str
    """The dialog's, which differs between the sides where we made one of our own for a provider."""
    cseq: int
    """Higher than any that the other end has seen."""


class CallName(Wire):
    """What tells a call from all others."""

    tenant: str
    """Whose call it is."""
    call: str
    """Names the call and, once somebody has, the leg that answered."""
    started: int
    """When the INVITE came: Unix time in whole seconds."""


class OpenCall(CallName):
    """An answered call that can be ended from outside. Since version 4."""

    address: str
    """The edge address that the caller is at."""
    sides: list[Side]
    """Both, the caller's first."""
    why: str = ""
    """Why it is ended, for people. Since version 6."""


class TriedLeg(Wire):
    """Somebody whom a call was sent to. Since version 5."""

    to: str
    """An AOR, or the URI at ``provider``."""
    provider: str = ""
    """The provider account's id; "": a phone."""
    address: str = ""
    """The edge address that it left from; "": nothing was sent yet."""
    status: int = 0
    """That of the final response; 0: none yet."""
    number: str = ""
    """The one that was called there, as in a ProviderLeg. Since version 5."""


class CallOutline(CallName):
    """What is told of every call, whatever became of it."""

    call_id: str
    """The caller's Call-ID."""
    caller: str
    """An AOR, or what a provider's From says."""
    called: str
    """What was called, as in the question."""
    invited: float = 0.0
    """``started`` exactly; 0: not told. Since version 5."""
    ringing: float | None = None
    """When the first provisional response beyond 100 came, Unix time; None: none did."""
    legs: list[TriedLeg] = []
    """Who was tried; the one that answered first. Since version 5."""
    counted: list[str] = []
    """The decision's: who is counting the call. Since version 5."""
    attempt: str = ""
    """The question's; "": an edge of before, whose calls count by ``call_id``. Since version 6."""
    asserted: str = ""
    """Who calls as the provider says, though it mustn't be shown: for the operator's record alone. "": ``caller`` says
    it. Since version 8."""
    transferred_by: str = ""
    """The AOR that has put the caller through, and that the call counts to where ``account`` doesn't say otherwise; "":
    none has. Since version 8."""


class CallAnswered(CallOutline):
    """A 2xx to an INVITE is about to be forwarded. Since version 2."""

    kind: Literal["answered"] = "answered"
    answered: float
    """When the 2xx came, Unix time."""
    edges: tuple[str, str]
    """The edge addresses of the caller's and the callee's flow."""
    account: str = ""
    """The AOR that it counts to; "": the caller. Since version 4."""
    max_duration: int = 0
    """Seconds that it may last; 0: no limit. Since version 4."""
    sides: list[Side] = []
    """As in an OpenCall; none where they can't be told. Since version 4."""
    providers: tuple[str, str] = ("", "")
    """Ids of those that the call came from and went to; "": none. Since version 5."""
    user_agents: tuple[str, str] = ("", "")
    """The caller's and the callee's; "": not told. Since version 5."""
    codecs: list[str] = []
    """Those of the answer, by medium. Since version 5."""
    media: MediaWay = ""
    """Which way they take; "" where that isn't known before the ACK, too. Since version 10."""
    media_why: str = ""
    """In a word, for people: "nat", "profiles", "one-site", ...; "": not told. Since version 10."""


class CallFailed(CallOutline):
    """An INVITE was answered with a status of 300 or higher: nobody has taken the call. Since version 5."""

    kind: Literal["failed"] = "failed"
    ended: float
    """When it was answered, Unix time."""
    status: int
    """The final response's."""
    reason: str = ""
    """A Reason value (RFC 3326) that says more; "": none."""
    address: str
    """The caller's edge address."""
    provider: str = ""
    """The id of the one that the call came from; "": none."""
    user_agent: str = ""
    """The caller's; "": not told."""
    by: str = ""
    """"caller" for one who gave up; "": it was refused. Since version 6."""
    account: str = ""
    """The AOR that it counts to; "": the caller. Since version 6."""
    called_address: str = ""
    """The edge address of the leg whose answer it is; "": of none. Since version 6."""
    called_provider: str = ""
    """That leg's provider account; "": none. Since version 6."""
    called_agent: str = ""
    """That leg's User-Agent or Server; "": not told. Since version 6."""


class CallEnded(CallName):
    """A BYE was answered, or the dialog is known to be gone. Since version 2."""

    kind: Literal["ended"] = "ended"
    ended: float
    """Unix time."""
    by: str = ""
    """The side that hung up: "caller", "called", "service" if we did; "": that can't be told."""
    reason: str = ""
    """The Reason value of the BYE (RFC 3326); "": none. Since version 5."""
    media: MediaWay = ""
    """Which way they took in the end; "": as was told when it was answered. Since version 10."""
    media_why: str = ""
    """As in CallAnswered, of ``media``. Since version 10."""
    quality: list[MediaQuality] = []
    """Of a relayed call, each side that is known of. Since version 10."""
    event: str = ""
    """What the tenant is to hear of it as an event of its own, for people: that the call was ended since its media
    can't go on. "": nothing. Since version 10."""


class CallLost(CallName):
    """An answered call of whose ends nothing is heard any more: it is to be ended, as one that has lasted too long is.
    Since version 10."""

    kind: Literal["lost"] = "lost"
    why: str
    """For people, in its record."""


class CallTransferred(CallName):
    """One who took part in an answered call is no longer in it: it goes on as another one, and ends with that. Since
    version 8."""

    kind: Literal["transferred"] = "transferred"
    to: str
    """The other one's ``call``; it has been reported as answered."""
    to_started: int
    """The other one's ``started``."""
    at: float
    """Unix time."""
    sides: list[Side] = []
    """The other one's by now; none: as they were."""


class ProviderReport(Wire):
    """How a registration with a provider stands. Since version 3."""

    kind: Literal["provider"] = "provider"
    provider: str
    """The provider account's id."""
    address: str
    """The edge address that it is registered from."""
    state: Literal["registered", "failing", "stopped", "unregistered"]
    """"failing" is tried again by itself; "stopped" isn't, which edges of version 7 and before say of refusals."""
    at: float
    """Since when, Unix time."""
    expires: int = 0
    """Seconds that the provider granted; 0: not registered."""
    period: int = 0
    """Seconds after which it is refreshed; 0: not registered."""
    status: int = 0
    """The last answer's; 0: none came."""
    reason: str = ""
    """The last answer's reason phrase, or why none came."""
    next_at: float = 0.0
    """When it is tried again, Unix time; 0: not before something changes."""
    server: str = ""
    """The address that answered; "": none did."""
    routes: list[str] = []
    """The values of its Service-Route (RFC 3608)."""
    call_id: str = ""
    """The ProviderAccount's: one that is deleted and made again under its name has another. "": an edge of before.
    Since version 8."""
    version: int = 0
    """The ProviderAccount's; 0: not told. Since version 8."""


class ProbeReport(Wire):
    """An edge has tried another one's address out. Since version 5."""

    kind: Literal["probe"] = "probe"
    edge: str
    """The edge that has tried."""
    address: str
    """The edge address that it has tried."""
    at: float
    """Unix time."""
    register_seconds: float
    """What a REGISTER with its challenge took."""
    register_status: int
    """What ended it; 0: nothing came."""
    call_seconds: float = 0.0
    """A call's way to a 2xx."""
    call_status: int = 0
    """What ended it; 0: nothing came, or it wasn't tried."""
    region: str = ""
    """The Region that the edge there was heard in; "": not told. Since version 6."""


class LoginsFailed(Wire):
    """Credentials that were wrong, and that no control plane has seen. Since version 7."""

    kind: Literal["logins_failed"] = "logins_failed"
    account: str
    """``username@realm``, which needn't exist."""
    source: str
    """The IP address that they came from."""
    times: int
    """How many since the last report of the two."""
    at: float
    """When the last came, Unix time."""
    address: str
    """The edge address that it came by."""


CallReport = CallAnswered | CallFailed | CallEnded | CallLost | CallTransferred
Report = BindingReport | CallReport | ProviderReport | ProbeReport | LoginsFailed


class ReportEnvelope(Envelope):
    """An edge's reports. Since version 2."""

    reports: list[Annotated[Report, Field(discriminator="kind")]]
    """In the order in which they were made."""


class ReportReceipt(Envelope):
    """All reports of the envelope have been applied, or never will be and needn't be sent again. Since version 2."""

    refused: int = 0
    """How many never will be; the control plane's log says why."""
