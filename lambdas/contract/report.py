"""What an edge reports afterwards. Every report may come twice or late, and means the same each time."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lambdas.contract.question import Wire, WireFlow


class BindingReport(Wire):
    """What became of a binding since it was last written: ``expires`` 0, the phone has stayed away; else the binding
    as the edge has given it to the phone while no decision could be had. ``at`` is Unix time, ``expires`` in seconds
    from then."""

    kind: Literal["binding"] = "binding"
    aor: str
    key: str
    contact: str
    flow: WireFlow
    call_id: str
    cseq: int
    at: float
    expires: int
    tenant: str
    q: int = 1000
    instance: str = ""
    reg_id: int = 0


class Side(Wire):
    """What one end of a call would send in its dialog: the Request-URI, the Route values, From, To and Call-ID. Whoever
    ends the call sends a BYE like that in its name, with a CSeq number that is higher than any that the other end has
    seen."""

    uri: str
    routes: list[str] = []
    sender: str
    receiver: str
    call_id: str
    cseq: int


class OpenCall(Wire):
    """An answered call that can be ended from outside: by both ``sides``, the caller's first. ``address`` is the edge
    address that the caller is at; ``why`` it is ended, for people."""

    address: str
    tenant: str
    call: str
    started: int
    sides: list[Side]
    why: str = ""


class Leg(Wire):
    """Somebody whom a call was sent to: ``to`` is an AOR, or the URI at ``provider``; ``address`` the edge address that
    it left from; ``status`` that of the final response (0: none yet, or nothing was sent yet); ``number`` the one that
    was called there."""

    to: str
    provider: str = ""
    address: str = ""
    status: int = 0
    number: str = ""


class CallAnswered(Wire):
    """A 2xx to an INVITE is about to be forwarded. ``call`` names the call and the leg that answered; times are Unix
    time in seconds; ``started`` is when the INVITE came, in whole seconds and part of the call's name, ``invited``
    exactly (0: not told); ``edges`` are the edge addresses of the caller's and the callee's flow. ``account`` is the
    one that it counts to; ``max_duration`` in seconds (0: no limit); ``sides`` as in an OpenCall, empty where they
    can't be told. ``providers`` are the ids of those that the call came from and went to ("": none); ``user_agents``
    the caller's and the callee's; ``codecs`` those of the answer, by medium; ``legs`` who was tried, the one that
    answered first; ``counted`` is the decision's, ``attempt`` the question's."""

    kind: Literal["answered"] = "answered"
    tenant: str
    call: str
    call_id: str
    caller: str
    called: str
    started: int
    invited: float = 0.0
    ringing: float | None = None
    answered: float
    edges: tuple[str, str]
    account: str = ""
    max_duration: int = 0
    sides: list[Side] = []
    providers: tuple[str, str] = ("", "")
    user_agents: tuple[str, str] = ("", "")
    codecs: list[str] = []
    legs: list[Leg] = []
    counted: list[str] = []
    attempt: str = ""


class CallFailed(Wire):
    """An INVITE was answered with ``status``, 300 or higher: nobody has taken the call. ``address`` is the caller's
    edge address, ``reason`` a Reason value (RFC 3326) that says more, or ""; ``by`` is "caller" for one who gave up.
    ``called_address``, ``called_provider`` and ``called_agent`` are of the leg whose answer it is; the rest as in
    CallAnswered."""

    kind: Literal["failed"] = "failed"
    tenant: str
    call: str
    call_id: str
    caller: str
    called: str
    started: int
    invited: float = 0.0
    ringing: float | None = None
    ended: float
    status: int
    reason: str = ""
    address: str
    provider: str = ""
    user_agent: str = ""
    legs: list[Leg] = []
    counted: list[str] = []
    attempt: str = ""
    by: str = ""
    account: str = ""
    called_address: str = ""
    called_provider: str = ""
    called_agent: str = ""


class CallEnded(Wire):
    """A BYE was answered, or the dialog is known to be gone. ``by`` is the side that hung up: "caller", "called",
    "service" if we did, or "" if that can't be told; ``reason`` the Reason value of the BYE (RFC 3326)."""

    kind: Literal["ended"] = "ended"
    tenant: str
    call: str
    started: int
    ended: float
    by: str = ""
    reason: str = ""


class ProviderReport(Wire):
    """How the registration of ``provider`` from ``address`` stands since ``at``. ``expires`` is what the provider
    granted, ``period`` after how many seconds it is refreshed; ``status`` and ``reason`` are the last answer's (0: none
    came); ``next_at`` when it is tried again (0: not before something changes); ``routes`` is its Service-Route."""

    kind: Literal["provider"] = "provider"
    provider: str
    address: str
    state: Literal["registered", "failing", "stopped", "unregistered"]
    at: float
    expires: int = 0
    period: int = 0
    status: int = 0
    reason: str = ""
    next_at: float = 0.0
    server: str = ""
    routes: list[str] = []


class ProbeReport(Wire):
    """``edge`` has tried ``address`` out, ``at`` (Unix time): how long a REGISTER with its challenge took, and a call's
    way to a 2xx, in seconds, and the statuses that ended them (0: none came, or it wasn't tried). ``region`` is the one
    that the edge there was heard in."""

    kind: Literal["probe"] = "probe"
    edge: str
    address: str
    at: float
    register_seconds: float
    register_status: int
    call_seconds: float = 0.0
    call_status: int = 0
    region: str = ""


Report = BindingReport | CallAnswered | CallFailed | CallEnded | ProviderReport | ProbeReport


class ReportEnvelope(Wire):
    """Reports in the order in which they were made. ``address`` and ``epoch`` as in a question."""

    version: int
    reports: list[Annotated[Report, Field(discriminator="kind")]]


class ReportReceipt(Wire):
    """All reports of the envelope have been applied, or never will be and needn't be sent again (``refused`` says how
    many, and the control plane's log why)."""

    version: int
    refused: int = 0
