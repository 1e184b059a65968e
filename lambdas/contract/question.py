"""What an edge asks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lambdas.contract.wire import Envelope, Wire, WireFlow


class Credentials(Wire):
    """The parameters of a Digest Authorization (RFC 7616 §3.4). The edge has already checked the nonce's seal and
    age and that its count is new; what is left is the response."""

    username: str
    """Without a domain."""
    realm: str
    """The canonical name of the domain."""
    nonce: str
    """As it was sent in the challenge."""
    uri: str
    """The digest-uri, which needn't be the Request-URI (RFC 3261 §22.4)."""
    response: str
    """What the phone has computed, in hexadecimal."""
    algorithm: str = "MD5"
    """One of HASHES."""
    qop: str = ""
    """"auth", or "" from a phone that knows RFC 2069 only: then ``nc`` and ``cnonce`` are "" too."""
    nc: str = ""
    """The nonce's count: eight hexadecimal digits."""
    cnonce: str = ""
    """The phone's own nonce."""
    qualified: bool = False
    """The phone has put an @ and the realm behind the user name, and computes HA1 of all that. Since version 8."""


class ContactField(Wire):
    """One Contact of a REGISTER."""

    key: str = Field(min_length=1, max_length=600)
    """What tells bindings of an AOR apart: instance and reg-id where both are given (RFC 5626 §6), else the Contact URI
    in a form that compares as RFC 3261 §19.1.4 does, and where its host isn't the phone's address, that. The edge makes
    it: it has the parser. Before version 8 of the parameters only transport was in it, and no address. A binding keeps
    the key that it was made with."""
    uri: str
    """The Contact URI, unparsed."""
    expires: int | None = None
    """Seconds; None where the phone named none."""
    q: int = 1000
    """In thousandths."""
    instance: str = ""
    """RFC 5626 §4.1, without its brackets; "" if absent."""
    reg_id: int = 0
    """RFC 5626 §4.2; 0 if absent."""


class Asked(Wire):
    """What all questions carry."""

    request: str = Field(min_length=1, max_length=64)
    """Names the question: the same in every retry of it."""
    address: str
    """The edge address that the request came in by."""
    epoch: int
    """That of the edge's lease on the address; an older one than the control plane knows is refused."""
    closed: list[WireFlow] = []
    """Flows whose connection has ended, as the edge knows: a binding on one counts no more, though it is in the table
    until its phone has had time to come back. At most 50. Since version 8."""


class RegisterQuestion(Asked):
    """A REGISTER (RFC 3261 §10.3) whose nonce the edge has verified."""

    kind: Literal["register"] = "register"
    aor: str
    """From To, with the canonical domain and without a scheme."""
    credentials: Credentials
    """Those of the REGISTER."""
    contacts: list[ContactField] = []
    """None, and no ``star``: the phone only asks what is registered."""
    star: bool = False
    """Stands for ``Contact: *``: every binding goes."""
    expires: int | None = None
    """The Expires header field in seconds; None if absent. It holds for Contacts that name none."""
    call_id: str
    """The REGISTER's Call-ID."""
    cseq: int
    """The number of its CSeq, which orders REGISTERs of one Call-ID."""
    flow: WireFlow
    """The flow that it came by."""
    user_agent: str = ""
    """The User-Agent header field, at most 128 characters; "" if absent."""
    grants: bool = False
    """The edge answers refreshes itself, so bindings are stored for the durable expiry, whatever the phone asks for.
    Since version 2."""
    path: list[str] = []
    """The Path values (RFC 3327), in order. Since version 8."""
    nonce_made: float = 0.0
    """When the nonce of the credentials was made, Unix time by the clock of the edge that made it: the REGISTER is
    younger. 0: not told. Since version 8."""
    silent: dict[str, float] = {}
    """Of the AOR's other bindings on UDP flows of this edge, by id: seconds since the phone was heard. Since
    version 8."""


class Tried(Wire):
    """What has become of a call so far."""

    attempt: str = Field(default="", max_length=64)
    """The edge's own name for the INVITE, which nobody else can choose: limits count by it. "": no INVITE, or an edge
    of before, whose calls count by Call-ID. Since version 6."""
    diversions: int = 0
    """How often it was diverted before it came here (RFC 5806). Since version 4."""
    again: str = Field(default="", max_length=1000)
    """What the decision before said to ask with; "" the first time. Since version 4."""
    outcomes: list[int] = []
    """The statuses of the stages that have been tried. Since version 4."""
    redirected_by: str = Field(default="", max_length=320)
    """The AOR whose phone has redirected the call; "": none has. ``again`` is "redirected" then, which a control plane
    of before refuses. Since version 8."""
    redirected_to: str = Field(default="", max_length=600)
    """Where to: an AOR, a number, or a SIP URI elsewhere. Since version 8."""


class MeantInstance(Wire):
    """One phone of whoever is called that alone is meant: its GRUU (RFC 5627) has been. A control plane of before
    version 9 has all of them rung."""

    instance: str = Field(default="", max_length=64)
    """The ``short_name`` of its instance, in lower case; "": all are meant. Since version 9."""
    registration: str = Field(default="", max_length=64)
    """The ``short_name`` of the Call-ID that it has to be registered by: the GRUU is a temporary one; "": whichever.
    Since version 9."""


class RouteQuestion(Asked, Tried, MeantInstance):
    """A request outside a dialog."""

    kind: Literal["route"] = "route"
    method: str
    """INVITE, MESSAGE, ..."""
    caller: str
    """The From AOR where its domain is ours, then the canonical one; otherwise whom the credentials name."""
    called: str
    """The Request-URI's AOR; its domain is canonical where it is ours, and the caller's for a ``tel:`` URI."""
    binding: str = ""
    """The id of the one phone of ``called`` that is meant: the Request-URI is its Contact; "": all. Since version 8."""
    credentials: Credentials
    """They say who calls, From doesn't."""
    call_id: str
    """The request's Call-ID."""
    flow: WireFlow
    """The flow that it came by."""
    withheld: bool = False
    """Whoever is called mustn't know who calls (RFC 3323). Since version 8."""
    summary: str = Field(default="", max_length=1000)
    """The message summary (RFC 3842) that a NOTIFY brings, to be kept for those who subscribe to it; "": none. Since
    version 8."""


class LocateQuestion(Asked):
    """Where is the binding whose flow, taken from a flow token, is dead? (RFC 5626 §5.3)"""

    kind: Literal["locate"] = "locate"
    binding: str
    """Its id."""
    failed: Annotated[list[WireFlow], Field(max_length=10)] = []
    """Flows to the phone that are dead, as the edge has tried: another flow of its instance will do. Since
    version 9."""


class IncomingQuestion(Asked, Tried):
    """A request outside a dialog from a provider, which the edge has recognised. Since version 3."""

    kind: Literal["incoming"] = "incoming"
    method: str
    """INVITE, MESSAGE, ..."""
    provider: str
    """The provider account's id; "": the number says whose call it is (since version 8)."""
    caller: str
    """What From says; that it is anonymous, where the provider is asked not to show it."""
    dialled: str
    """The user of To, or of the Request-URI where that is a number: without separators and parameters."""
    call_id: str
    """The request's Call-ID."""
    flow: WireFlow
    """The flow that it came by."""
    number: str = Field(default="", max_length=256)
    """The Request-URI's user, as ``called_number`` has it; "": the Contact of ``provider`` was called. Since
    version 8."""
    places: Annotated[list[str], Field(max_length=8)] = []
    """The hosts of ProviderPlaces with ``trusting`` tenants that it may come from: a number that is an account's there
    counts for more than ``provider``. Since version 8."""
    summary: str = Field(default="", max_length=1000)
    """The message summary (RFC 3842) that a NOTIFY brings, to be kept for those who subscribe to it; "": none. Since
    version 8."""


class AccessQuestion(Asked):
    """A provider asks for credentials inside a call that goes through it. Since version 3."""

    kind: Literal["access"] = "access"
    provider: str
    """The provider account's id."""
    way: str = ""
    """The user part that leads to the provider, as it stands in the call's Route: it proves that there is such a call.
    Since version 7."""
    call_id: str = ""
    """The call's, as the phone has it: ``way`` is sealed for it. Since version 7."""
    tag: str = ""
    """The provider's in that call: ``way`` is sealed for it. Since version 7."""


class TransferQuestion(Asked, Tried, MeantInstance):
    """One of our accounts has sent REFER (RFC 3515) in a call across a border: may it call whom it has named there, and
    where is that? It is the account's own call, at its expense. Since version 8."""

    kind: Literal["transfer"] = "transfer"
    method: str = "INVITE"
    """What is sent there."""
    caller: str
    """Who is put through: what From says."""
    called: str
    """Refer-To's AOR; its domain is canonical where it is ours."""
    replaces: bool = False
    """It takes the place of a call that is under way there (RFC 3891), so only a phone that has one will do."""
    call_id: str
    """The new INVITE's Call-ID."""
    flow: WireFlow
    """The flow that the REFER came by."""
    credentials: Credentials | None = None
    """Those of the REFER, whose method they are for; None: ``way`` says whose phone it is, and it has come from
    there."""
    call: str
    """Names the call that is transferred, as in a CallName."""
    way: str
    """The user part of the REFER's Route that leads across the border: it proves that there is such a call, and says
    whose phone has it."""
    way_call_id: str
    """``way`` is sealed for it: the REFER's Call-ID."""
    way_tag: str
    """``way`` is sealed for it: the tag of the REFER's To."""


class DialogQuestion(Asked):
    """May this request go on in its dialog? The edge doesn't remember that the call was answered, or the request comes
    from elsewhere than the flow of its side. Since version 7."""

    kind: Literal["dialog"] = "dialog"
    method: str
    """BYE, INVITE, ..."""
    tenant: str
    """Whose call it is, as the flow token says."""
    call: str
    """Names the call and the leg that answered, as in a CallName."""
    started: int
    """When the INVITE came, as the flow token says: Unix time in whole seconds."""
    credentials: Credentials | None = None
    """Those of a sender who had to say who he is: he must be a party of the call; None: the flow says it."""
    provider: str = ""
    """The provider account that the sender says he is, from an address that the edge doesn't know of it; "": none."""
    call_id: str = ""
    """The caller's Call-ID."""
    called: str = ""
    """The id of the binding that was called, as the flow token says: phones choose what calls are named by; "": a
    provider's, or not told."""
    flow: WireFlow
    """The flow that it came by."""


CallQuestion = RouteQuestion | IncomingQuestion | TransferQuestion
"""Where does a call go?"""
Question = RegisterQuestion | CallQuestion | LocateQuestion | AccessQuestion | DialogQuestion


class QuestionEnvelope(Envelope):
    """An edge's question."""

    question: Annotated[Question, Field(discriminator="kind")]
    """Its ``kind`` says which; one that the control plane doesn't know is refused with 422."""
