"""Provider accounts: what the edge that registers with a provider has to know, and what a call through one needs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lambdas.contract.question import Wire


class Server(Wire):
    """Where a provider takes requests: ``host`` is a name or an address; ``port`` 0 means what RFC 3263 §4.2 finds.
    With an outbound proxy this is the proxy, and ``route`` its URI for a Route header field ("" without one)."""

    host: str
    port: int = 0
    transport: Literal["udp", "tcp"] = "udp"
    route: str = ""


class Secret(Wire):
    """What answers a provider's challenges. With a ``realm`` only those of that realm."""

    username: str
    password: str = Field(repr=False)
    realm: str = ""


class ProviderAccount(Wire):
    """An account to keep registered. ``id`` is ``tenant/name``; ``version`` in milliseconds; ``aor`` goes into To and
    From, ``registrar`` is the Request-URI; ``contact_user`` can't be guessed, and calls for it are this account's;
    ``call_id`` is the same as long as the account lives; ``expires`` in seconds; ``headers`` are whole lines;
    ``sources`` are networks (CIDR) that its calls may come from beside its servers."""

    id: str
    version: int
    enabled: bool
    server: Server
    registrar: str
    aor: str
    secret: Secret
    contact_user: str
    call_id: str
    expires: int
    headers: list[str] = []
    sources: list[str] = []


class ProviderLeg(Wire):
    """How to send a call through a provider. ``from_value`` is its From without a tag, ``to_uri`` its To; ``headers``
    are whole lines to add, ``routes`` the values of the registrar's Service-Route. ``transfers``: REFER may pass.
    ``number`` is the one that is called, in E.164 form where it has one, for the record."""

    id: str
    server: Server
    secret: Secret | None = None
    from_value: str
    to_uri: str
    headers: list[str] = []
    routes: list[str] = []
    transfers: bool = False
    number: str = ""


class ProvidersRequest(Wire):
    """The holder of ``address`` in ``epoch`` asks for the accounts assigned to it: those named by ``ids``, or a page of
    all, after ``after``. ``ports`` maps transports to the address's ports."""

    version: int
    address: str
    epoch: int
    ports: dict[str, int]
    ids: Annotated[list[str], Field(max_length=50)] = []
    after: str = ""


class ProvidersReply(Wire):
    """``accounts`` may be registered from the address in its epoch: they are claimed for it. Those of ``gone`` don't
    exist any more, or are another address's; those of ``pending`` haven't come to this Region yet, and are to be asked
    for again. ``following`` is the next page's ``after``, "" at the end."""

    version: int
    accounts: list[ProviderAccount]
    gone: list[str] = []
    pending: list[str] = []
    following: str = ""
