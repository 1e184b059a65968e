"""Limits, rates and rules as people set them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from phonenumbers import PhoneMetadata
from pydantic import AfterValidator, BaseModel, Field

from lambdas.api.problems import Problem
from lambdas.api.provisioning.common import Input
from lambdas.contract import RELAYED_OF_ACCOUNT, RELAYED_OF_TENANT
from lambdas.services.services import Services


def prefix(text: str) -> str:
    if set(text) - set("+0123456789*#") or "+" in text[1:]:
        raise ValueError("not the beginning of a number, like +44 or 0")
    return text


Prefix = Annotated[str, AfterValidator(prefix), Field(max_length=20)]
Prefixes = Annotated[list[Prefix], Field(max_length=200)]
_Quota = Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None
Money = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]


class Limits(Input):
    """Null is without limit. In a change what is left out stays as it is."""

    concurrent_calls: Annotated[int, Field(strict=True, ge=0, le=2000)] | None = None
    calls_per_minute: Annotated[int, Field(strict=True, ge=0, le=100_000)] | None = None
    calls_per_day: Annotated[int, Field(strict=True, ge=0, le=10_000_000)] | None = None
    daily_spend: Money | None = Field(
        default=None, description="By `rates`; calls that are under way end when it is used up."
    )
    max_call_seconds: (
        Annotated[int, Field(strict=True, ge=1, le=604_800, description="A call is ended then.")] | None
    ) = None
    registrations: Annotated[int, Field(strict=True, ge=0, le=10, description="Phones of one account.")] | None = None
    allowed_prefixes: Prefixes | None = Field(
        default=None,
        description="Only numbers that begin with one of these may be called through providers. As everywhere here, "
        "prefixes are of numbers in E.164 form, like +449, or of short numbers, like 118, and need the tenant's "
        "`country`.",
    )
    blocked_prefixes: Prefixes | None = Field(
        default=None, description="These may not. Of several that fit, in both lists, the longest counts."
    )
    relayed_calls: (
        Annotated[
            int,
            Field(
                strict=True,
                ge=0,
                le=10_000,
                description="At once whose media go by the edges, at each edge address; null is the usual number: "
                f"{RELAYED_OF_ACCOUNT} of an account, {RELAYED_OF_TENANT} of a tenant.",
            ),
        ]
        | None
    ) = None


class QuotaLimits(Input):
    """How many of each a tenant may make. In a change what is left out stays as it is; null is the usual number."""

    accounts: _Quota = None
    domains: _Quota = None
    hooks: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None
    keys: Annotated[_Quota, Field(description="Members' own aren't counted.")] = None
    members: _Quota = None
    plans: _Quota = None
    plan_versions: Annotated[
        Annotated[int, Field(strict=True, ge=1, le=1000)] | None, Field(description="Of each plan; the oldest go.")
    ] = None
    providers: _Quota = None
    store: Annotated[int, Field(strict=True, ge=0, le=10_000)] | None = None


class Rate(Input):
    prefix: Prefix = ""
    per_minute: Annotated[Money, Field(description="In whatever unit `daily_spend` is.")]


class SuspensionRules(Input):
    """When the service itself suspends an account. 0 switches a rule off."""

    failures: Annotated[
        int,
        Field(
            strict=True,
            ge=0,
            le=100_000,
            description="Failed authentications within ten minutes, ... Whoever knows an account's name can bring them "
            "about, so this is off unless you say otherwise.",
        ),
    ] = 0
    sources: Annotated[int, Field(strict=True, ge=2, le=500, description="... from so many addresses or more.")] = 3
    premium_prefixes: Prefixes = []
    premium_calls: Annotated[
        int,
        Field(
            strict=True,
            ge=0,
            le=10_000,
            description="Calls within ten minutes to numbers of such prefixes, first called within a day.",
        ),
    ] = 5


class Suspension(Input):
    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", examples=["unpaid"])]


class Usage(BaseModel):
    """What counts for limits just now. Nothing is counted where there is no limit."""

    calls: Annotated[int, Field(strict=True, description="Under way.")]
    this_minute: int
    today: int
    spent_today: float


def usage(scope: str, services: Services) -> Usage:
    now = services.clock()
    return Usage(**services.tables.usage.sums(scope, now))


def prefixes_of(given: dict[str, Any]) -> list[str]:
    """All that limits, or rules of suspension, name."""
    names = ("allowed_prefixes", "blocked_prefixes", "premium_prefixes")
    return [one for name in names for one in given.get(name) or ()]


def check_prefixes(prefixes: Iterable[str], country: str) -> None:
    """Raises Problem where they could be of no number that is called."""
    for one in filter(None, prefixes):
        if not country:
            detail = f"Set the tenant's `country` first: without it nobody can tell which numbers begin with {one}."
            raise Problem(422, detail)
        metadata = PhoneMetadata.metadata_for_region(country)
        trunk = (metadata.national_prefix if metadata is not None else None) or "0"
        if one.startswith(("0", trunk)):
            code = metadata.country_code if metadata is not None else "…"
            raise Problem(422, f"{one} is how a national number is dialled; write it as it is abroad, with +{code}.")


def merged(before: dict[str, Any], given: Limits | QuotaLimits | SuspensionRules) -> dict[str, Any]:
    """As an item keeps them: what is given replaces what was, a limit of null is taken away, what is left out stays
    (RFC 7396)."""
    changes = given.model_dump(exclude_unset=True)
    return {name: value for name, value in {**before, **changes}.items() if value is not None}


def shown(item: dict[str, Any]) -> Limits:
    return Limits(**item)
