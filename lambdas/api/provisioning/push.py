"""Push notification services: what phones that sleep are woken by, with a tenant's own credentials."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from lambdas.api.audit import AuditedRoute
from lambdas.api.problems import Problem, responses
from lambdas.api.provisioning.common import (
    Flag,
    Input,
    ListingDep,
    ListPage,
    TenantQuery,
    chosen_tenant,
    found_or_404,
)
from lambdas.api.security import Caller, CallerDep, OwnerDep, ServicesDep
from lambdas.decisions.push import ServiceName
from lambdas.repositories.models import PushServiceItem
from lambdas.repositories.push_services import PushCredentials, listing
from lambdas.repositories.vault import Unsealed
from lambdas.services.services import Services

router = APIRouter(prefix="/push", tags=["push"], route_class=AuditedRoute)

_Name = Annotated[str, Field(pattern=r"^[A-Z0-9]{10}$")]
_Pem = Annotated[str, Field(min_length=1, max_length=3300)]  # RSA's of 4,096 bits; KMS seals 4,096 octets
Shows = Annotated[
    Flag, Field(description="Whether a push says who calls. Those who hide their number are never named.")
]


class ApnsKey(Input):
    key: Annotated[_Pem, Field(description="The team's key for APNs, as Apple gives it (.p8).", repr=False)]
    key_id: _Name
    team_id: _Name
    show_caller: Shows = False


class ServiceAccount(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["service_account"]
    project_id: Annotated[str, Field(pattern=r"^[a-z0-9.:-]{1,100}$")]
    private_key: Annotated[_Pem, Field(repr=False)]
    private_key_id: Annotated[str, Field(max_length=200, pattern=r"^[\x21-\x7e]*$")] = ""
    client_email: Annotated[str, Field(min_length=3, max_length=300, pattern=r"^[\x21-\x7e]*$")]


class FcmAccount(Input):
    service_account: Annotated[
        ServiceAccount, Field(description="A service account that may send by FCM, as Google gives it (JSON).")
    ]
    show_caller: Shows = False


class WebPushKey(Input):
    subject: Annotated[
        str,
        Field(
            pattern=r"^(mailto:[^@\s]{1,100}@[^@\s]{1,200}|https://[^\s]{1,300})$",
            description="Whom a push service may turn to (RFC 8292).",
            examples=["mailto:admin@example.com"],
        ),
    ]
    private_key: Annotated[
        _Pem | None,
        Field(description="A P-256 key as PEM; if left out, the one that there is stays, or one is made.", repr=False),
    ] = None
    show_caller: Shows = False


class Service(BaseModel):
    """Without what is secret."""

    service: ServiceName
    tenant: str
    team_id: Annotated[str | None, Field(description="Of `apns`.")] = None
    key_id: Annotated[str | None, Field(description="Of `apns`.")] = None
    project_id: Annotated[str | None, Field(description="Of `fcm`.")] = None
    subject: Annotated[str | None, Field(description="Of `webpush`.")] = None
    public_key: Annotated[
        str | None, Field(description="Of `webpush`: what pages subscribe with (`applicationServerKey`).")
    ] = None
    show_caller: bool


def _shown(item: PushServiceItem) -> Service:
    service: ServiceName = item.provider  # type: ignore[assignment]  # what is written below
    return Service(
        service=service,
        tenant=item.tenant,
        team_id=item.scope if service == "apns" else None,
        key_id=item.key or None,
        project_id=item.scope if service == "fcm" else None,
        subject=item.subject or None,
        public_key=item.vapid or None,
        show_caller=item.shows,
    )


@router.put("/apns", responses=responses(400, 401, 403, 404, 409, 422, 503))
def set_apns(body: ApnsKey, services: ServicesDep, who: OwnerDep, tenant: TenantQuery = None) -> Service:
    """Wake iPhones, by the team's key for APNs. Needs an owner's key."""
    owner = chosen_tenant(tenant, who, services)
    _p256(body.key, "key")
    credentials = PushCredentials("apns", body.team_id, body.key_id, "", "", body.show_caller, "", body.key)
    return _put(credentials, owner, services)


@router.put("/fcm", responses=responses(400, 401, 403, 404, 409, 422, 503))
def set_fcm(body: FcmAccount, services: ServicesDep, who: OwnerDep, tenant: TenantQuery = None) -> Service:
    """Wake Android phones, by a service account of the program's project. Needs an owner's key."""
    owner, account = chosen_tenant(tenant, who, services), body.service_account
    _check_rsa(account.private_key, "service_account.private_key")
    secret = json.dumps(
        {name: getattr(account, name) for name in ("client_email", "private_key", "private_key_id", "project_id")}
    )
    credentials = PushCredentials("fcm", account.project_id, "", "", "", body.show_caller, "", secret)
    return _put(credentials, owner, services)


@router.put("/webpush", responses=responses(400, 401, 403, 404, 409, 422, 503))
def set_webpush(body: WebPushKey, services: ServicesDep, who: OwnerDep, tenant: TenantQuery = None) -> Service:
    """Wake pages in browsers (Web Push with VAPID). Another key makes all that have subscribed deaf. Needs an owner's
    key."""
    owner = chosen_tenant(tenant, who, services)
    known = services.tables.push_services.item(owner, "webpush") if body.private_key is None else None
    secret = body.private_key or _new_key()
    if known is not None:
        vapid, kept = known.vapid, known.secret
    else:
        point = _p256(secret, "private_key").public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        vapid, kept = base64.urlsafe_b64encode(point).rstrip(b"=").decode(), ""
    credentials = PushCredentials("webpush", "", "", body.subject, vapid, body.show_caller, "", secret)
    return _put(credentials, owner, services, kept)


@router.get("", responses=responses(400, 401, 404))
def list_services(
    services: ServicesDep, who: CallerDep, listed: ListingDep, tenant: TenantQuery = None
) -> ListPage[Service]:
    """What a tenant's phones can be woken by."""
    owner = chosen_tenant(tenant, who, services)
    return listed.page(services, PushServiceItem, listing(owner), _shown, within=f"{owner}/")


@router.get("/{service}", responses=responses(400, 401, 404))
def read_service(service: ServiceName, services: ServicesDep, who: CallerDep, tenant: TenantQuery = None) -> Service:
    """One of them."""
    return _shown(_service(service, tenant, services, who))


@router.delete("/{service}", status_code=204, responses=responses(400, 401, 403, 404))
def remove_service(service: ServiceName, services: ServicesDep, who: OwnerDep, tenant: TenantQuery = None) -> None:
    """Wake nobody by it any more. Needs an owner's key."""
    services.tables.push_services.delete(_service(service, tenant, services, who))


def _put(credentials: PushCredentials, tenant: str, services: Services, kept: str = "") -> Service:
    """``kept`` is a secret that is sealed already. Raises Problem."""
    if not services.tables.pushes.available:
        raise Problem(409, "This installation has no queue for pushes; whoever runs it has to set PUSH_QUEUE.")
    try:
        return _shown(services.tables.push_services.put(tenant, credentials, kept))
    except Unsealed as error:
        raise Problem(503, str(error)) from error


def _check_rsa(text: str, field: str) -> None:
    """Raises Problem if it is no RSA key."""
    if not isinstance(_private_key(text, field), rsa.RSAPrivateKey):
        raise Problem(422, f"{field}: a private key of another kind; RSA is wanted.")


def _p256(text: str, field: str) -> ec.EllipticCurvePrivateKey:
    """Raises Problem if it is none."""
    key = _private_key(text, field)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Problem(422, f"{field}: a private key of another kind; P-256 is wanted.")
    return key


def _private_key(text: str, field: str) -> PrivateKeyTypes:
    """Raises Problem if it is none."""
    try:
        return load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Problem(422, f"{field}: not a private key as PEM without a password.") from error


def _new_key() -> str:
    made = ec.generate_private_key(ec.SECP256R1())
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _service(service: ServiceName, tenant: str | None, services: Services, who: Caller) -> PushServiceItem:
    owner = chosen_tenant(tenant, who, services)
    item: PushServiceItem = found_or_404(
        services.tables.push_services.item(owner, service), who, f"push service {service!r}"
    )
    return item
