"""What an edge asks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

WireFlow = tuple[str, int, str, str, int, int]
"""(edge address, edge port, transport, remote address, remote port, connection): RFC 5626 §3.1, as the edge sees it."""


class Wire(BaseModel):
    """Fields unknown to an older reader are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Credentials(Wire):
    """The parameters of a Digest Authorization (RFC 7616 §3.4). The edge has already checked the nonce's seal and
    age and that its count is new; what is left is the response."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = "MD5"
    qop: str = ""
    nc: str = ""
    cnonce: str = ""


class ContactField(Wire):
    """One Contact of a REGISTER. ``key`` is what tells bindings of an AOR apart: instance and reg-id where both are
    given (RFC 5626 §6), else the Contact URI in the form that RFC 3261 §19.1.4 compares; ``uri`` is unparsed;
    ``expires`` in seconds, None where the phone named none; ``instance`` and ``reg_id`` as RFC 5626 §4.1 has them
    ("" and 0 if absent); ``q`` in thousandths."""

    key: str = Field(min_length=1, max_length=600)
    uri: str
    expires: int | None = None
    q: int = 1000
    instance: str = ""
    reg_id: int = 0


class Asked(Wire):
    """What all questions carry. ``request`` is the same in every retry of one question; ``epoch`` is that of the
    edge's lease on the address that the request came in by."""

    request: str = Field(min_length=1, max_length=64)
    address: str
    epoch: int


class RegisterQuestion(Asked):
    """A REGISTER (RFC 3261 §10.3) whose nonce the edge has verified. ``star`` stands for ``Contact: *``; no contacts
    and no star means the phone only asks what is registered. ``expires`` is the Expires header field. ``grants``: the
    edge answers refreshes itself, so bindings are stored for the durable expiry, whatever the phone asks for."""

    kind: Literal["register"] = "register"
    aor: str
    credentials: Credentials
    contacts: list[ContactField] = []
    star: bool = False
    expires: int | None = None
    call_id: str
    cseq: int
    flow: WireFlow
    user_agent: str = ""
    grants: bool = False


class Tried(Wire):
    """What has become of a call so far. ``diversions``: how often it was diverted before it came here (RFC 5806).
    ``again``: what the decision before said to ask with, "" the first time; ``outcomes`` are the statuses of the stages
    that have been tried. ``attempt`` is the edge's own name for the INVITE, which nobody else can choose: limits count
    by it ("": an edge of before, or no INVITE)."""

    attempt: str = Field(default="", max_length=64)
    diversions: int = 0
    again: str = Field(default="", max_length=1000)
    outcomes: list[int] = []


class RouteQuestion(Asked, Tried):
    """A request outside a dialog. ``caller`` is the From AOR, ``called`` the Request-URI's; their domains are
    canonical where they are ours."""

    kind: Literal["route"] = "route"
    method: str
    caller: str
    called: str
    credentials: Credentials
    call_id: str
    flow: WireFlow


class LocateQuestion(Asked):
    """Where is the binding whose flow, taken from a flow token, is dead? (RFC 5626 §5.3)"""

    kind: Literal["locate"] = "locate"
    binding: str


class IncomingQuestion(Asked, Tried):
    """A request outside a dialog from ``provider``, which the edge has recognised. ``caller`` is what From says,
    ``dialled`` the user of To."""

    kind: Literal["incoming"] = "incoming"
    method: str
    provider: str
    caller: str
    dialled: str
    call_id: str
    flow: WireFlow


class AccessQuestion(Asked):
    """``provider`` asks for credentials inside a call that goes through it."""

    kind: Literal["access"] = "access"
    provider: str


Question = RegisterQuestion | RouteQuestion | LocateQuestion | IncomingQuestion | AccessQuestion


class QuestionEnvelope(Wire):
    version: int
    question: Annotated[Question, Field(discriminator="kind")]
