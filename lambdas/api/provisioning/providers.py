"""Accounts with VoIP providers: registered by the service, for calls in and out."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import phonenumbers
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.edges.registrations import choose_address, living
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import (
    Flag,
    Input,
    ListingDep,
    ListPage,
    TenantQuery,
    chosen_tenant,
    found_or_404,
    room,
)
from lambdas.api.provisioning.media import OwnMedia, kept, own
from lambdas.api.provisioning.plans import check_plan
from lambdas.api.security import Caller, CallerDep, ServicesDep
from lambdas.contract import called_number
from lambdas.decisions.assignment import Assignment
from lambdas.decisions.provider import CallerIdIn, NumberFormat
from lambdas.decisions.provider_numbers import in_its_form, spellings
from lambdas.decisions.provider_places import WIDEST, too_wide
from lambdas.decisions.uris import hostport
from lambdas.repositories.directory import Missing, Stale, Taken
from lambdas.repositories.filters import alike
from lambdas.repositories.items import item_key
from lambdas.repositories.models import AccountItem, ProviderItem, TenantItem
from lambdas.repositories.providers import NumberTaken, ProviderState, TooMany
from lambdas.repositories.vault import Unsealed
from lambdas.services.services import Services

router = APIRouter(prefix="/providers", tags=["providers"], route_class=AuditedRoute)

_RACES = 8
_MOST_CAS = 4
_TLS_SINCE = 9  # the contract's version
_PLACE = frozenset(("registers", "host", "port", "transport", "outbound_proxy"))
"""What says where a provider is, and that it isn't registered with."""
_CALLS_IN = frozenset(("sources", "numbers"))
"""What says whose calls are that come from there."""
_PRINTABLE = r"^[\x20-\x7e]*$"
_RESERVED = frozenset(
    (
        "via", "route", "record-route", "from", "to", "call-id", "cseq", "contact", "max-forwards", "content-length",
        "content-type", "content-encoding", "expires", "authorization", "proxy-authorization", "require",
        "proxy-require", "supported", "user-agent", *"abcdefijklmnorstuvxy",
    )
)  # fmt: skip
"""Header fields that the service sets; single letters are compact forms."""


def _host(text: str) -> str:
    name = text.strip().lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
        if "%" not in name:
            return str(address) if address.version == 4 else f"[{address}]"
    except ValueError:
        labels = name.split(".")
        if len(name) <= 253 and all(
            0 < len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() and label.isascii()
            for label in labels
        ):
            return name
    raise ValueError("not a host name or an IP address, like sip.example.net, 198.51.100.1 or [2001:db8::1]")


def _proxy(text: str) -> str:
    if not text:
        return ""
    host, port = hostport(text.strip())
    return _host(host) + (f":{port}" if port else "")


def _header(text: str) -> str:
    name, colon, value = text.partition(":")
    known = name.strip().lower()
    if not colon or not value.strip() or not known or not set(known) <= set("abcdefghijklmnopqrstuvwxyz0123456789-."):
        raise ValueError("not like X-Account: 12345")
    if known in _RESERVED:
        raise ValueError(f"{name.strip()} is set by the service itself")
    return f"{name.strip()}: {value.strip()}"


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network like 198.51.100.0/24 or 2001:db8:1::/48") from error


def _ca(text: str) -> str:
    """The certificates alone, without what stands around them."""
    if not text.strip():
        return ""
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise ValueError("not certificates in PEM, like -----BEGIN CERTIFICATE-----…") from error
    if len(found) > _MOST_CAS:
        raise ValueError(f"more than {_MOST_CAS} certificates")
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in found)


def _number(text: str) -> str:
    if not text:
        return ""
    try:
        parsed = phonenumbers.parse(text)
    except phonenumbers.NumberParseException as error:
        raise ValueError("not an international number like +442079460000") from error
    if not phonenumbers.is_possible_number(parsed):
        raise ValueError("no number has this many digits in its country")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def _called(text: str) -> str:
    if text.strip().startswith("+"):
        return _number(text)
    name = called_number(text)
    if not name.isascii() or not name.replace("_", "").isalnum():
        raise ValueError("neither a number like +442079460000 nor a name of letters, digits and _")
    return name


E164 = Annotated[str, AfterValidator(_number), Field(max_length=32, examples=["+442079460000"])]
ProviderName = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", examples=["voip1"], description="Calls may name it: sip:+44…@voip1."),
]
_Host = Annotated[str, AfterValidator(_host), Field(max_length=255, examples=["sip.example.net"])]
_User = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x20<>@\"\x7f-￿]+$")]
_OptionalUser = Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x20<>@\"\x7f-￿]*$")]
_Password = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Proxy = Annotated[str, AfterValidator(_proxy), Field(max_length=262)]
_Port = Annotated[int, Field(ge=0, le=65535, description="0: as DNS says (SRV), else 5060, with TLS 5061.")]
_Transport = Annotated[
    Literal["udp", "tcp", "tls", "auto"],
    Field(description="auto: as DNS says (NAPTR, else the SRV records that there are), else UDP."),
]
_Ca = Annotated[
    str,
    Field(
        max_length=8192,
        description="With TLS: whom the server's certificate has to be signed by (PEM, up to four of them), or the "
        "certificate itself; empty: a CA that the edges trust.",
    ),
    AfterValidator(_ca),
]
_Realm = Annotated[str, Field(max_length=255, pattern=_PRINTABLE, description="Answer only challenges of this realm.")]
_Display = Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\"\\\x7f]*$")]
_Expires = Annotated[int, Field(ge=60, le=86400, description="Seconds to ask for.")]
_Headers = Annotated[
    list[Annotated[str, AfterValidator(_header), Field(max_length=300, pattern=_PRINTABLE)]], Field(max_length=10)
]
_Sources = Annotated[
    list[Annotated[str, AfterValidator(_network)]],
    Field(max_length=50, description="Networks that calls may come from, beside the provider's servers."),
]
_Numbers = Annotated[
    list[Annotated[str, AfterValidator(_called), Field(max_length=32, examples=["+442079460000"])]],
    Field(
        max_length=20,
        description="What its calls may name instead of the Contact that is registered: numbers like +442079460000, or "
        "as they are dialled in the tenant's country; other names exactly.",
    ),
]
_Aors = Annotated[list[Annotated[str, Field(max_length=320)]], Field(max_length=20)]


class NewProvider(Input):
    tenant: Annotated[str | None, Field(description="Whose; needed with an administration key.")] = None
    name: ProviderName
    host: _Host
    port: _Port = 0
    transport: _Transport = "udp"
    ca: _Ca = ""
    outbound_proxy: _Proxy = ""
    username: _User
    auth_user: _OptionalUser = ""
    password: _Password
    realm: _Realm = ""
    from_user: _OptionalUser = ""
    from_domain: Annotated[str, AfterValidator(lambda text: _host(text) if text else ""), Field(max_length=255)] = ""
    display_name: _Display = ""
    expires: _Expires = 3600
    headers: _Headers = []
    sources: _Sources = []
    numbers: _Numbers = []
    registers: Annotated[
        Flag,
        Field(description="False for a provider that takes calls without a registration; needs an administration key."),
    ] = True
    enabled: Flag = True
    incoming: Annotated[_Aors, Field(description="Accounts that its calls ring, all at once.")] = []
    message_waiting: Annotated[_Aors, Field(description="Whose phones show its voicemail; as incoming if empty.")] = []
    caller_id: Annotated[E164, Field(description="The number to show, unless the calling account has its own.")] = ""
    caller_id_in: CallerIdIn = "from"
    number_format: NumberFormat = "e164"
    transfers: Annotated[
        Flag, Field(description="REFER passes, and the provider makes the call; false: the service makes it.")
    ] = False
    media: OwnMedia = "tenant"
    plan: Annotated[str, Field(max_length=32, description="The dial plan of its calls; else they ring `incoming`.")] = (
        ""
    )


class ProviderChange(Input):
    host: _Host | None = None
    port: _Port | None = None
    transport: _Transport | None = None
    ca: _Ca | None = None
    outbound_proxy: _Proxy | None = None
    username: _User | None = None
    auth_user: _OptionalUser | None = None
    password: _Password | None = None
    realm: _Realm | None = None
    from_user: _OptionalUser | None = None
    from_domain: Annotated[str, AfterValidator(lambda text: _host(text) if text else "")] | None = None
    display_name: _Display | None = None
    expires: _Expires | None = None
    headers: _Headers | None = None
    sources: _Sources | None = None
    numbers: _Numbers | None = None
    registers: Flag | None = None
    enabled: Flag | None = None
    incoming: _Aors | None = None
    message_waiting: _Aors | None = None
    caller_id: E164 | None = None
    caller_id_in: CallerIdIn | None = None
    number_format: NumberFormat | None = None
    transfers: Flag | None = None
    media: OwnMedia | None = None
    plan: Annotated[str, Field(max_length=32)] | None = None


class Registration(BaseModel):
    """How the registration stands; times are Unix time in seconds."""

    state: Annotated[
        Literal["registered", "failing", "stopped", "unregistered", "waiting"],
        Field(
            description="`failing`: tried again at `next_attempt`; `waiting`: nothing reported yet; `stopped`: only "
            "edges of before say so, of what isn't tried again before the account is changed."
        ),
    ]
    since: float | None = None
    expires: Annotated[float | None, Field(description="When it would run out if it weren't refreshed.")] = None
    edge: Annotated[str | None, Field(description="The edge that registers it.")] = None
    edge_address: str | None = None
    server: str = ""
    last_status: Annotated[int | None, Field(description="Of the provider's last answer; null if none came.")] = None
    reason: str = ""
    next_attempt: float | None = None


class Provider(BaseModel):
    name: str
    tenant: str
    host: str
    port: int
    transport: str
    ca: str
    outbound_proxy: str
    username: str
    auth_user: str
    realm: str
    from_user: str
    from_domain: str
    display_name: str
    expires: int
    headers: list[str]
    sources: list[str]
    numbers: list[str]
    registers: bool
    enabled: bool
    incoming: list[str]
    message_waiting: list[str]
    caller_id: str
    caller_id_in: str
    number_format: str
    transfers: bool
    media: OwnMedia
    plan: str
    registration: Registration | None = Field(description="Live state; null for one that doesn't register.")


@router.post("", status_code=201, responses=responses(400, 401, 403, 404, 409, 422, 503))
def create_provider(body: NewProvider, services: ServicesDep, who: CallerDep) -> Provider:
    """Add an account; the service registers it within seconds."""
    tenant = chosen_tenant(body.tenant, who, services)
    values = kept(_with_transport(body.model_dump(exclude={"tenant", "password"})))
    _check_edges(values, services)
    _check_trunk(values, values, who)
    _check_calls_in(values, values["registers"], tenant, services, who)
    _check_accounts(tenant, values, services)
    check_plan(tenant, body.plan, services)
    name = f"{tenant}/{body.name}"
    item = ProviderItem(
        *item_key(ProviderItem, name),
        id=name,
        tenant=tenant,
        listing=f"providers#{tenant}",
        password="",
        contact_user=secrets.token_hex(12),
        call_id=secrets.token_hex(16),
        **{**values, **_spelt(values, tenant, services)},
    )
    address = choose_address(services, living(services.fleet.leases(fresh=True), services.clock()))
    try:
        with room(tenant, "providers", services, who):
            services.tables.assignments.create(Assignment(name, address))
            assigned = services.tables.assignments.get(name)
            services.tables.providers.create(
                item, body.password, assigned.address if assigned else address, services.clock()
            )
    except Taken as error:
        raise Problem(409, f"Tenant {tenant} has a provider {body.name!r} already; choose another name.") from error
    except NumberTaken as error:
        raise _number_taken(error) from error
    except TooMany as error:
        raise _too_many() from error
    except Unsealed as error:
        raise Problem(503, str(error)) from error
    services.fleet.added(address)
    return _shown(item, services)


@router.get("", responses=responses(400, 401, 404))
def list_providers(
    services: ServicesDep, who: CallerDep, listing: ListingDep, tenant: TenantQuery = None, enabled: bool | None = None
) -> ListPage[Provider]:
    """A tenant's providers, by name."""
    owner = chosen_tenant(tenant, who, services)

    def shown(item: ProviderItem) -> Provider:
        return _shown(item, services)

    return listing.page(
        services, ProviderItem, f"providers#{owner}", shown, alike(ProviderItem, enabled=enabled), f"{owner}/"
    )


@router.get("/{name}", responses=responses(400, 401, 404))
def read_provider(name: str, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> Provider:
    """One provider, with the state of its registration."""
    return _shown(_provider(name, tenant, services, who), services)


@router.patch("/{name}", responses=responses(400, 401, 403, 404, 409, 422, 503))
def change_provider(
    name: str, body: ProviderChange, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None
) -> Provider:
    """Change what is given; it acts within 10 s. A disabled account is unregistered."""
    item = _provider(name, tenant, services, who)
    changes = kept(_with_transport(body.model_dump(exclude_none=True)))
    _check_edges(changes, services)
    _check_trunk({"registers": item.registers, **changes}, changes, who)
    _check_calls_in(changes, changes.get("registers", item.registers), item.tenant, services, who)
    changes |= _spelt({"numbers": list(item.numbers), **changes}, item.tenant, services) if changes else {}
    _check_accounts(item.tenant, changes, services)
    check_plan(item.tenant, body.plan, services)
    if changes:
        try:
            services.tables.providers.change(item, _address(item, services), services.clock(), **changes)
        except Missing as error:
            raise Problem(404, f"There is no provider {name!r}.") from error
        except NumberTaken as error:
            raise _number_taken(error) from error
        except TooMany as error:
            raise _too_many() from error
        except Unsealed as error:
            raise Problem(503, str(error)) from error
    return _shown(item, services)


@router.delete("/{name}", status_code=204, responses=responses(400, 401, 404))
def delete_provider(name: str, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> None:
    """Remove an account; it is unregistered. The tenant's routes and emergency calls don't go by it any more."""
    item = _provider(name, tenant, services, who)
    address = _address(item, services)
    # First, so that one made again under this name gets an assignment of its own.
    services.tables.assignments.delete(item.id)
    try:
        services.tables.providers.delete(item, address, services.clock())
    except Missing as error:
        raise Problem(404, f"There is no provider {name!r}.") from error
    services.tables.counts.note(item.tenant, "providers", -1)
    _take_out_of_routes(item, services)


def _take_out_of_routes(item: ProviderItem, services: Services) -> None:
    """Of the tenant's: nothing leads there any more. A route without providers goes."""
    for _ in range(_RACES):
        owner = services.tables.directory.get(TenantItem, item.tenant)
        if owner is None or item.name not in named_by(owner.outbound_routes, owner.emergency_providers):
            return
        owner.guarded = True
        left = [
            {**route, "providers": [name for name in route["providers"] if name != item.name]}
            for route in owner.outbound_routes
        ]
        changes = {
            "outbound_routes": [route for route in left if route["providers"]],
            "emergency_providers": [name for name in owner.emergency_providers if name != item.name],
        }
        with contextlib.suppress(Stale):  # somebody has changed them meanwhile
            services.tables.directory.change_tenant(owner, services.clock(), **changes)


def named_by(routes: Iterable[dict[str, Any]], emergency: Iterable[str]) -> set[str]:
    """The providers that a tenant's calls go by."""
    return {*emergency, *(name for route in routes for name in route["providers"])}


def _provider(name: str, tenant: str | None, services: Services, who: CallerDep) -> ProviderItem:
    owner = chosen_tenant(tenant, who, services)
    item: ProviderItem = found_or_404(services.tables.providers.item(f"{owner}/{name}"), who, f"provider {name!r}")
    return item


def _address(item: ProviderItem, services: Services) -> str:
    assigned = services.tables.assignments.get(item.id)
    return assigned.address if assigned is not None else ""


def _with_transport(values: dict[str, Any]) -> dict[str, Any]:
    """As it is kept: auto is UDP, unless DNS says otherwise."""
    transport = values.get("transport")
    if transport is None:
        return values
    return {**values, "transport": "udp" if transport == "auto" else transport, "by_dns": transport == "auto"}


def _check_edges(values: dict[str, Any], services: Services) -> None:
    """What edges of before can't do waits for them."""
    places = [values.get("host") or "", values.get("outbound_proxy") or ""]
    ipv6 = any("[" in place for place in places) or any(":" in one for one in values.get("sources") or ())
    if (ipv6 or values.get("transport") == "tls") and services.fleet.spoken() < _TLS_SINCE:
        raise Problem(
            409,
            "TLS and IPv6 to providers need edges that can do them, and some are of an older version, or were ten "
            "minutes ago; try again once all are upgraded.",
        )


def _check_trunk(wanted: dict[str, Any], changed: dict[str, Any], who: Caller) -> None:
    """A provider that knows us by our address can't tell our tenants apart: whoever runs the service answers for it."""
    if not wanted["registers"] and not who.admin and not _PLACE.isdisjoint(changed):
        raise Problem(
            403,
            "A provider with registers: false knows calls by the service's own address, which all tenants share. "
            "Only an administration key may add one, or change where it is; ask whoever runs the service.",
        )


def _check_calls_in(changed: dict[str, Any], registers: bool, tenant: str, services: Services, who: Caller) -> None:
    """Nobody takes another's calls by saying that they are his."""
    if not registers and any(too_wide(one) for one in changed.get("sources") or ()):
        widest = f"/{WIDEST[4]} networks at the widest, /{WIDEST[6]} of IPv6"
        raise Problem(422, f"The sources of a provider with registers: false may be {widest}.")
    if who.admin or _CALLS_IN.isdisjoint(name for name, value in changed.items() if value):
        return
    if not registers:
        raise Problem(
            403,
            "A provider with registers: false sends the calls of all tenants to the same addresses: its numbers and "
            "sources say whose they are. Only an administration key may set them; ask whoever runs the service.",
        )
    owner = services.tables.directory.get(TenantItem, tenant)
    if changed.get("numbers") and (owner is None or owner.signed_up):
        raise Problem(
            403,
            "Whose a number is has to be known before calls for it are somebody's: for a tenant that has signed up by "
            "itself only an administration key may set numbers. Calls for the Contact that is registered and for the "
            "username come in without.",
        )


def _spelt(values: dict[str, Any], tenant: str, services: Services) -> dict[str, Any]:
    """The numbers in their E.164 form, and how calls may name them."""
    if not values["numbers"]:
        return {"spellings": []}
    country = services.tables.directory.settings(tenant).country
    numbers = list(dict.fromkeys(in_its_form(text, country) for text in values["numbers"]))
    return {"numbers": numbers, "spellings": spellings(numbers, country)}


def _number_taken(error: NumberTaken) -> Problem:
    host, _, number = str(error).partition("/")
    return Problem(
        409, f"Another account has the number {number} at {host} already; if it is yours, ask whoever runs the service."
    )


def _too_many() -> Problem:
    return Problem(422, "These are too many numbers and sources for one account; make a second one for some of them.")


def _check_accounts(tenant: str, values: dict[str, Any], services: Services) -> None:
    for aor in {*values.get("incoming", ()), *values.get("message_waiting", ())}:
        found = services.tables.directory.get(AccountItem, aor)
        if found is None or found.tenant != tenant:
            raise Problem(404, f"There is no account {aor!r}; name accounts of the tenant by their AOR.")


def _shown(item: ProviderItem, services: Services) -> Provider:
    names = set(Provider.model_fields) - {"registration", "port", "expires"}
    values = {name: getattr(item, name) for name in names}
    for name in ("headers", "sources", "numbers", "incoming", "message_waiting"):
        values[name] = list(values[name])
    state = _registration(item, services) if item.registers else None
    values["media"] = own(item.media)
    if item.by_dns:
        values["transport"] = "auto"
    return Provider(**values, port=int(item.port), expires=int(item.expires), registration=state)


def _registration(item: ProviderItem, services: Services) -> Registration:
    state = services.tables.providers.state(item.id, item.call_id)
    address = _address(item, services)
    holder = next((lease.holder for lease in services.fleet.leases() if lease.address == address), None)
    if state is None or state.address != address:
        return Registration(state="waiting", edge=holder, edge_address=address)
    return Registration(
        state=state.state,
        since=state.at,
        expires=_expires(state, services.clock()) if state.state == "registered" else None,
        edge=holder,
        edge_address=address,
        server=state.server,
        last_status=state.status or None,
        reason=state.reason,
        next_attempt=_next(state, services.clock()),
    )


def _expires(state: ProviderState, now: float) -> float:
    """Refreshes that succeed aren't reported: they come every ``period`` seconds."""
    refreshed = state.at + max(0, now - state.at) // max(1, state.period) * max(1, state.period)
    return round(refreshed + state.expires, 3)


def _next(state: ProviderState, now: float) -> float | None:
    if state.state == "registered":
        return round(_expires(state, now) - state.expires + state.period, 3)
    return state.next_at or None
