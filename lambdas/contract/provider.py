"""Provider accounts: what the edge that registers with a provider has to know, and what a call through one needs. All
of it since version 3."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lambdas.contract.wire import Envelope, Wire

Transport = Literal["udp", "tcp", "tls"]
"""``tls`` since version 9."""


class Server(Wire):
    """Where a provider takes requests. With an outbound proxy this is the proxy. Since version 3."""

    host: str
    """A name or an address, one of IPv6 in brackets. By TLS its certificate has to be for that (RFC 5922 §7.2)."""
    port: int = 0
    """0: what RFC 3263 §4.2 finds."""
    transport: Transport = "udp"
    """What requests go by."""
    by_dns: bool = False
    """They go by another transport where DNS says so (RFC 3263 §4.1). Since version 9."""
    ca: str = ""
    """What the certificate has to be signed by (PEM); "": whatever the edge trusts. Since version 9."""
    route: str = ""
    """The outbound proxy's URI for a Route header field; "" without one."""


class Secret(Wire):
    """What answers a provider's challenges. Since version 3."""

    username: str
    """The user name of Digest."""
    password: str = Field(repr=False)
    """In clear: HA1 differs by realm, and the provider names that."""
    realm: str = ""
    """Only challenges of this realm are answered; "": of any."""


class ProviderAccount(Wire):
    """An account to keep registered. Since version 3."""

    id: str
    """``tenant/name``."""
    version: int
    """Of its last change, in milliseconds."""
    enabled: bool
    """False: it is to be unregistered."""
    server: Server
    """Where REGISTERs go."""
    registrar: str
    """The Request-URI of REGISTERs."""
    aor: str
    """A URI, for To and From."""
    secret: Secret
    """For its challenges."""
    contact_user: str
    """The user of the Contact: it can't be guessed, and calls for it are this account's."""
    call_id: str
    """Of its REGISTERs, the same as long as the account lives."""
    expires: int
    """Seconds to ask for."""
    headers: list[str] = []
    """Whole lines to add."""
    sources: list[str] = []
    """Networks (CIDR) that its calls may come from beside its servers."""
    numbers: list[str] = []
    """What its calls may name in place of the Contact's user, as ``called_number`` has it. Since version 8."""


class ProviderLeg(Wire):
    """How to send a call through a provider. Since version 3."""

    id: str
    """The provider account's."""
    server: Server
    """Where the INVITE goes."""
    secret: Secret | None = None
    """For its challenges; None: there is none."""
    from_value: str
    """The value of From, without a tag."""
    to_uri: str
    """The URI of To."""
    headers: list[str] = []
    """Whole lines to add."""
    routes: list[str] = []
    """The values of the registrar's Service-Route (RFC 3608)."""
    transfers: bool = False
    """REFER may pass."""
    number: str = ""
    """The one that is called, in E.164 form where it has one, for the record. Since version 5."""
    dark: bool = True
    """Whether a decision that was kept may send a call there while none can be had. Since version 7."""
    rate: float = 0.0
    """What a minute costs, in the unit of the tenant's rates. Since version 7."""
    shows: bool = False
    """The provider shows who calls, whatever the caller's phone asks: somebody is in need, or a code before the number
    has said so. Since version 8."""
    registered: bool = True
    """The edge address that the call leaves from is registered there: it goes by that transport, however long its
    requests are. Others leave UDP where they are too long for it (RFC 3261 §18.1.1). Since version 7."""
    redirects: bool = False
    """A 3xx of the provider may lead to hosts that aren't its own, as calls may to addresses outside. Since
    version 8."""


class ProviderPlace(Wire):
    """A server of provider accounts: whoever calls there comes from an address that may be trusted there.
    Since version 7."""

    host: str
    """A name or an address, in lower case."""
    port: int = 0
    """0: what RFC 3263 §4.2 finds."""
    transport: Transport = "udp"
    """What requests go by."""
    by_dns: bool = False
    """They go by another transport where DNS says so. Since version 9."""
    tenants: list[str]
    """Whose accounts are there."""
    trusting: list[str] = []
    """Those of them whose calls are known there by where they come from."""
    networks: list[str] = []
    """Where calls for those come from beside the server's own addresses (CIDR). Since version 8."""


class ProvidersRequest(Envelope):
    """The holder of an address asks for the accounts assigned to it: those named, or a page of all. Since version 3."""

    address: str
    """The edge address."""
    epoch: int
    """That of its lease."""
    ports: dict[str, int]
    """The address's port for each transport."""
    ids: Annotated[list[str], Field(max_length=50)] = []
    """The accounts asked for; none: all, in pages."""
    after: str = ""
    """The id that the page begins after; "": the first page."""


class ProvidersReply(Envelope):
    """The accounts are claimed for the address in its epoch, and may be registered from it. Since version 3."""

    accounts: list[ProviderAccount]
    """Those that may be registered."""
    gone: list[str] = []
    """Ids that don't exist any more, or are another address's."""
    pending: list[str] = []
    """Ids that haven't come to this Region yet, and are to be asked for again."""
    following: str = ""
    """The next page's ``after``; "" at the end."""
