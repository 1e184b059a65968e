"""What all provisioning routes share: paging, tenants, and the names of things."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import secrets
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pynamodb.expressions.condition import Condition

from lambdas.api.preconditions import check
from lambdas.api.problems import Problem
from lambdas.api.security import Caller
from lambdas.decisions.domain_names import domain_name
from lambdas.decisions.quotas import QuotaKind
from lambdas.repositories.directory import LONGEST_NAME, Page
from lambdas.repositories.items import item_key
from lambdas.repositories.models import DirectoryItem, TenantItem
from lambdas.repositories.slow_turns import AT_ONCE, NoTurn
from lambdas.services.services import Services

_Shown = TypeVar("_Shown")
# Without 0 O o, 1 l I: passwords are read out, and typed on the keys of a phone. So none begins with 0x either,
# which some clients (SIPp) take for hexadecimal.
_LEGIBLE = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class Input(BaseModel):
    """A request body: a field that isn't known is an error, not a typing mistake that goes unnoticed."""

    model_config = ConfigDict(extra="forbid")


class ListPage(BaseModel, Generic[_Shown]):
    """One page of a list."""

    @classmethod
    def model_parametrized_name(cls, params: tuple[type[Any], ...]) -> str:
        """A program's class is called so."""
        return f"{params[0].__name__}Page"

    items: list[_Shown]
    next: str | None = Field(description="Give it as `cursor` to get the next page; null at the end.")


class Paging:
    """``limit`` and the name to go on after."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=200, description="Items in one page.")] = 50,
        cursor: Annotated[str | None, Query(max_length=2048, description="`next` of the page before.")] = None,
    ) -> None:
        self.limit = limit
        try:
            self.after = base64.b64decode(cursor, b"-_", validate=True).decode() if cursor else None
            if self.after is not None and len(self.after.encode()) > LONGEST_NAME:
                raise ValueError
        except ValueError as error:
            raise Problem(400, "cursor isn't one that this API gave; leave it out to begin at the start.") from error

    @staticmethod
    def following(page: Page) -> str | None:
        return Paging.cursor(page.following)

    @staticmethod
    def cursor(after: str | None) -> str | None:
        return base64.urlsafe_b64encode(after.encode()).decode() if after else None


PagingDep = Annotated[Paging, Depends(Paging)]


class Listing:
    """Which things of a list: those of a page whose names begin with ``prefix``."""

    def __init__(
        self,
        paging: PagingDep,
        prefix: Annotated[str, Query(max_length=200, description="Only those whose names begin so.")] = "",
    ) -> None:
        self._paging = paging
        self._prefix = prefix

    def page(
        self,
        services: Services,
        kind: type[DirectoryItem],
        listing: str,
        shown: Callable[[Any], _Shown],
        where: Condition | None = None,
        within: str = "",
        wanted: Callable[[Any], bool] | None = None,
    ) -> ListPage[_Shown]:
        """``within`` is what the directory's names have before those that people know; ``where`` and ``wanted`` say
        which things are."""
        begins = item_key(kind, within + self._prefix)[1]
        page = services.tables.directory.page(listing, self._paging.limit, self._paging.after, begins, where, wanted)
        return ListPage(items=[shown(item) for item in page.items], next=Paging.following(page))


ListingDep = Annotated[Listing, Depends(Listing)]


def new_password() -> str:
    """20 characters, 116 bits, for the one who wants no password of their own choice."""
    return "".join(secrets.choice(_LEGIBLE) for _ in range(20))


def _flag(value: object) -> object:
    """JSON's true and false, and their names in YAML; a number is a mistake."""
    if not isinstance(value, bool | str):
        raise ValueError("true or false is wanted")
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]


def _day(text: object) -> datetime.date:
    try:
        return datetime.datetime.strptime(str(text), "%Y-%m-%d").date()
    except ValueError as error:
        raise ValueError("not a day like 2026-01-31") from error


Day = Annotated[datetime.date, BeforeValidator(_day)]

Since = Annotated[
    float | None,
    Query(ge=0, le=1e11, allow_inf_nan=False, description="Only what began then or later: Unix time in seconds."),
]


DomainName = Annotated[str, AfterValidator(domain_name), Field(max_length=254, examples=["example.com"])]


_WIDEST = {4: 8, 6: 16}  # bits of a network: a slip of the finger mustn't mean everybody


def network_of(text: str) -> str:
    """In the form that is its name. Raises ValueError."""
    network = ipaddress.ip_network(text.strip())
    widest = _WIDEST[network.version]
    if network.prefixlen < widest:
        raise ValueError(f"a network of fewer than {widest} bits is too wide")
    return str(network.network_address) if network.num_addresses == 1 else str(network)


Network = Annotated[
    str,
    AfterValidator(network_of),
    Field(
        max_length=43,
        description="An address, or a network like 192.0.2.0/24 or 2001:db8::/56.",
        examples=["192.0.2.7", "2001:db8:0:100::/56"],
    ),
]


_USER = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_~!*'()+$")


def _username(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not _USER.issuperset(text) or not text.strip("."):
        raise ValueError("only letters, digits and . - _ ~ ! * ' ( ) + $ may stand in a user name")
    return text


NAME = r"^[^\x00-\x1f\x7f]*$"
"""Of what people call something: one line."""

_SEPARATORS = str.maketrans("", "", "-.()")
_LONGEST_SHORT = 6  # digits; edges take longer numbers for telephone numbers (RFC 3966 §3)
_RESERVED = "probe-"  # the accounts by which edges try each other out


def _free(text: str) -> str:
    if text.lower().startswith(_RESERVED):
        raise ValueError(f"user names that begin with {_RESERVED} are the service's own")
    if text.lower() == "anonymous":
        raise ValueError("anonymous is whoever hides his number")  # RFC 3323 §4.1.1.3
    digits = text.translate(_SEPARATORS)
    if digits != text and digits.removeprefix("+").isdecimal() and len(digits) > _LONGEST_SHORT:
        raise ValueError(f"a number is called without separators: {digits}")
    return text


Username = Annotated[
    str, Field(min_length=1, max_length=64, examples=["alice"]), AfterValidator(_username), AfterValidator(_free)
]


TenantQuery = Annotated[str | None, Query(description="Whose; needed with an administration key.")]


def chosen_tenant(named: str | None, who: Caller, services: Services, gone: bool = False) -> str:
    """The tenant that a request is about: a tenant key's own, or the one that an administrator names; one that is
    ``gone`` by now will do, if you say so."""
    if not who.admin:
        if named not in (None, who.tenant):
            raise Problem(404, f"There is no tenant {named!r}.")
        return who.tenant
    if named is None:
        raise Problem(400, "An administration key has no tenant of its own: say which one with `tenant`.")
    if not gone and services.tables.directory.get(TenantItem, named) is None:
        raise Problem(404, f"There is no tenant {named!r}.")
    who.about = named
    return named


def found_or_404(item: Any, who: Caller, what: str) -> Any:
    """``item`` if it exists and is the caller's; what is another tenant's looks like nothing at all.
    Raises Stale if it isn't as the caller has read it."""
    if item is None or not who.owns(item.tenant):
        raise Problem(404, f"There is no {what}.")
    check(item, who)
    return item


@contextlib.contextmanager
def room(tenant: str, kind: QuotaKind, services: Services, who: Caller, number: int = 1) -> Iterator[None]:
    """While ``number`` more of a kind are made: they are counted, unless that fails. Whoever runs the service isn't
    held to quotas. Raises QuotaUsedUp."""
    if who.admin:
        services.tables.counts.note(tenant, kind, number)
    else:
        services.tables.counts.take(tenant, kind, number)
    try:
        yield
    except BaseException:
        services.tables.counts.note(tenant, kind, -number)
        raise


@contextlib.contextmanager
def slow_turn(services: Services, who: Caller) -> Iterator[None]:
    """While something is done that takes seconds: a tenant's keys can't hold all processes with it. Raises Problem."""
    if who.admin:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(services.tables.slow_turns.turn(who.tenant, services.clock()))
        except NoTurn as error:
            detail = f"Your tenant has {AT_ONCE} requests like this under way; wait for one of them."
            raise Problem(429, detail, {"Retry-After": "1"}) from error
        yield
