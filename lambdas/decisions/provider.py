"""What decisions know of provider accounts, and of how a tenant's calls go out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lambdas.contract import MediaPolicy, ProviderAccount, Secret, Server, Transport
from lambdas.decisions.abuse import DEFAULT, Rules
from lambdas.decisions.limits import NONE, CallLimits, NumberRate
from lambdas.decisions.provider_places import AccountPlace
from lambdas.decisions.uris import host_name, hostport
from lambdas.decisions.values import MediaSetting

NumberFormat = Literal["e164", "digits", "national", "dialled"]
CallerIdIn = Literal["from", "p-asserted-identity", "p-preferred-identity", "remote-party-id", "none"]


def places_of(
    tenant: str,
    host: str,
    port: int,
    transport: Transport,
    proxy: str,
    registers: bool,
    sources: Iterable[str] = (),
    by_dns: bool = False,
) -> set[AccountPlace]:
    """Where an account with these is known: at its server, and at the outbound proxy if there is one. One that doesn't
    register takes calls from ``sources`` too, whatever edge they come to."""
    servers = [(host, port)] + ([hostport(proxy)] if proxy else [])
    networks = ["", *([] if registers else sources)]
    return {
        AccountPlace(tenant, host_name(name), number, transport, trusting=not registers, network=network, by_dns=by_dns)
        for network in networks
        for name, number in (servers[:1] if network else servers)
    }


@dataclass(frozen=True, slots=True)
class StoredProvider:
    """An account with a provider, its password in the clear. ``id`` is ``tenant/name``, ``numbers`` are the spellings
    of its numbers."""

    id: str
    tenant: str
    host: str
    username: str
    password: str = field(repr=False)
    contact_user: str = ""
    call_id: str = ""
    port: int = 0
    transport: Transport = "udp"
    by_dns: bool = False
    ca: str = ""
    outbound_proxy: str = ""
    auth_user: str = ""
    realm: str = ""
    from_user: str = ""
    from_domain: str = ""
    display_name: str = ""
    expires: int = 3600
    headers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    registers: bool = True
    enabled: bool = True
    incoming: tuple[str, ...] = ()
    message_waiting: tuple[str, ...] = ()
    caller_id: str = ""
    caller_id_in: CallerIdIn = "from"
    number_format: NumberFormat = "e164"
    transfers: bool = False
    plan: str = ""
    version: int = 0
    media: MediaSetting = ""

    @property
    def domain(self) -> str:
        return self.from_domain or self.host

    @property
    def server(self) -> Server:
        """Where requests go first: the outbound proxy if there is one (RFC 3261 §8.1.2)."""
        if not self.outbound_proxy:
            host, port, route = self.host, self.port, ""
        else:
            host, port = hostport(self.outbound_proxy)
            route = f"<sip:{self.outbound_proxy}{self.uri_transport};lr>"
        return Server(host=host, port=port, transport=self.transport, by_dns=self.by_dns, ca=self.ca, route=route)

    @property
    def uri_transport(self) -> str:
        """The transport parameter of the provider's URIs, "" where it is the default, or DNS says it (RFC 3261
        §19.1.2)."""
        return "" if self.transport == "udp" else f";transport={self.transport}"

    @property
    def places(self) -> set[AccountPlace]:
        return places_of(
            self.tenant,
            self.host,
            self.port,
            self.transport,
            self.outbound_proxy,
            self.registers,
            self.sources,
            self.by_dns,
        )

    @property
    def secret(self) -> Secret:
        return Secret(username=self.auth_user or self.username, password=self.password, realm=self.realm)

    @property
    def account(self) -> ProviderAccount:
        port = f":{self.port}" if self.port and not self.outbound_proxy else ""
        return ProviderAccount(
            id=self.id,
            version=self.version,
            enabled=self.enabled and self.registers,
            server=self.server,
            registrar=f"sip:{self.host}{port}{self.uri_transport}",
            aor=f"sip:{self.username}@{self.domain}",
            secret=self.secret,
            contact_user=self.contact_user,
            call_id=self.call_id,
            expires=self.expires,
            headers=list(self.headers),
            sources=list(self.sources),
            numbers=list(self.numbers),
        )


@dataclass(frozen=True, slots=True)
class Way:
    """A provider and the place that calls to it leave from: ``address``, by its ``ports``. ``routes`` is the
    registrar's Service-Route; ``registered``: whoever holds ``address`` keeps it registered from there."""

    provider: StoredProvider
    address: str
    ports: Mapping[str, int]
    routes: tuple[str, ...] = ()
    registered: bool = False


@dataclass(frozen=True, slots=True)
class StoredRoute:
    """Numbers that begin with ``prefix`` (E.164, or as dialled) go to the first of ``providers`` that takes them."""

    prefix: str
    providers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """A tenant's. ``country`` is an ISO 3166 code or ""; ``emergency`` names the providers for emergency calls,
    ``plan`` the dial plan of calls by its accounts ("" for none); ``script_hosts`` are those that its scripts may ask.
    ``limits`` are those of all its accounts together, ``account_limits`` each one's that has none of its own;
    ``suspended`` says why nobody of it may do anything ("" if they may); ``rules`` when an account is suspended;
    ``hooked`` names the webhooks for each kind of event; ``outside``: plans may call addresses elsewhere. ``premium``
    and ``international`` numbers may be called, and (``costly_without_control_plane``) while no decision can be had,
    too. ``media`` and ``site`` hold for accounts and providers that don't say."""

    country: str = ""
    emergency: tuple[str, ...] = ()
    routes: tuple[StoredRoute, ...] = ()
    plan: str = ""
    script_hosts: frozenset[str] = frozenset()
    limits: CallLimits = NONE
    account_limits: CallLimits = NONE
    rates: tuple[NumberRate, ...] = ()
    suspended: str = ""
    tenant: str = ""
    rules: Rules = DEFAULT
    hooked: Mapping[str, list[str]] = field(default_factory=dict)
    outside: bool = True
    premium: bool = True
    international: bool = True
    costly_without_control_plane: bool = False
    media: MediaPolicy = "auto"
    site: str = ""
