"""What call policy reads, and the little that it has done: whoever runs it brings both, over DynamoDB or over
dictionaries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lambdas.contract import CallQuestion, IncomingQuestion, PushQuestion
from lambdas.decisions import register
from lambdas.decisions.limits import Admitted, CallLimits
from lambdas.decisions.provider import StoredProvider, TenantSettings, Way
from lambdas.decisions.provider_places import ProviderPlaces
from lambdas.decisions.push import PushService
from lambdas.decisions.rules import Plan
from lambdas.decisions.values import Put, StoredAccount, StoredBinding
from lambdas.sandbox.client import Sandbox

BUSY = "too many calls are being set up at once; try again"
"""What ``Facts.admit`` says where it can't tell in time."""


@dataclass(frozen=True, slots=True)
class Domains:
    """``names`` maps each name and alias to its canonical name; ``version`` changes with them."""

    names: dict[str, str]
    default: str
    version: str


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """``parties`` are the accounts that take part; ``over``: it has ended, or is being ended."""

    parties: frozenset[str]
    over: bool


class CallWay(NamedTuple):
    """What leads across the border of a call: the provider account ("" where an address is called directly), whose call
    it is, when it has begun (Unix time), and the id of the binding of its phone ("" if it has none)."""

    provider: str
    tenant: str
    started: int
    binding: str


class Facts(Protocol):
    """Times are in seconds; plans and provider accounts are named ``tenant/name``."""

    def clock(self) -> float:
        """Unix time."""
        ...

    def monotonic(self) -> float:
        """What a decision's own time is measured by."""
        ...

    # Who there is

    def member(self, aor: str, called: str = "") -> tuple[StoredAccount | None, TenantSettings]:
        """An account with all that holds for it, and its tenant's settings. ``called``: whose account is asked for
        next, so that it may be read at once."""
        ...

    def account(self, aor: str) -> StoredAccount | None: ...

    def settings(self, tenant: str) -> TenantSettings: ...

    def domains(self) -> Domains: ...

    def provider(self, provider: str) -> StoredProvider | None: ...

    def with_number(self, places: Sequence[str], number: str) -> StoredProvider | None:
        """The account that calls from one of these hosts for ``number`` (as ``called_number`` has it) are for; None if
        it is nobody's, or more than one's."""
        ...

    def proven(self, provider: StoredProvider) -> bool:
        """Whether it has been registered as it is, so that its user name is nobody else's."""
        ...

    def unknown_number(self, question: IncomingQuestion) -> None:
        """Whoever may know whose it should be is told that nobody has it. Doesn't fail."""
        ...

    def way(self, provider: str, address: str) -> Way | None:
        """How calls go out by a provider account: from where it is registered, if anybody is there; else from
        ``address``, the edge address that they came in at."""
        ...

    def assigned(self, provider: str) -> str:
        """The edge address that registers it; "" if none does."""
        ...

    def provider_places(self) -> ProviderPlaces:
        """Where all tenants' providers are."""
        ...

    def spoken(self) -> int:
        """The version of the contract that every edge can read."""
        ...

    def way_of_call(self, way: str, call_id: str, tag: str) -> CallWay | None:
        """Where the user part ``way`` leads in a call; None if no edge has sealed it for this call."""
        ...

    # Where they are

    def bindings(self, aor: str) -> tuple[StoredBinding, ...]:
        """All items of an AOR."""
        ...

    def binding(self, binding: str) -> tuple[StoredBinding, ...]:
        """The items of one binding id."""
        ...

    def write(self, puts: Sequence[Put]) -> bool:
        """All or none; False if one was changed since it was read."""
        ...

    def turn(self, aor: str) -> AbstractContextManager[object]:
        """Held while an AOR's bindings are read and written, so that those who write them here don't meet."""
        ...

    def pause(self, tries: int) -> None:
        """Before reading again what somebody else has changed."""
        ...

    def push_services(self, tenant: str) -> tuple[PushService, ...]:
        """The push notification services that it has credentials for."""
        ...

    def push(self, item: StoredBinding, question: PushQuestion) -> bool:
        """Have a push sent to a phone, at most once in a few seconds; False if it can't be, or too many were."""
        ...

    def expiries(self) -> register.Expiries: ...

    def moved(self, account: StoredAccount, before: Sequence[StoredBinding], puts: Sequence[Put]) -> None:
        """Whoever wants to know is told that ``account`` may have other phones now. Doesn't fail."""
        ...

    def call(self, tenant: str, started: int, call: str) -> AnsweredCall | None:
        """An answered call, by its name."""
        ...

    def refused(self, tenant: str, started: int, call_id: str) -> bool:
        """Whether a call with that Call-ID, begun in that second, was taken by nobody."""
        ...

    # What plans say

    def published(self, plan: str) -> tuple[Plan, int] | None:
        """The version that counts, and its number; None if there is none."""
        ...

    def earlier(self, plan: str, number: int) -> Plan | None:
        """Version ``number``, by which a call has begun."""
        ...

    @property
    def sandbox(self) -> Sandbox:
        """Where scripts run."""
        ...

    def log_plan(self, tenant: str, plan: str, text: str, call_id: str) -> None:
        """Into the tenant's log. Doesn't fail."""
        ...

    # What scripts ask for

    def stored(self, tenant: str, key: str) -> str | None: ...

    def may_store(self, tenant: str) -> bool:
        """Whether the tenant's scripts may write one more value just now."""
        ...

    def store(self, tenant: str, key: str, value: str) -> None:
        """Raises QuotaUsedUp."""
        ...

    def enum(self, number: str, zone: str) -> str:
        """The SIP address of an E.164 number, or "" if it has none that can be had in time."""
        ...

    def page(self, url: str, hosts: Collection[str]) -> tuple[int, str]:
        """Status and text of a page of one of ``hosts``. Raises OutsideError."""
        ...

    # What limits allow

    def admit(self, scope: str, limits: CallLimits, attempt: str) -> Admitted | str:
        """Count one call more for a tenant or an account, or which limit that would break, or BUSY."""
        ...

    def withdraw(self, scopes: Iterable[str], attempt: str) -> None:
        """The call isn't made after all."""
        ...

    def called_emergency(self, account: StoredAccount, number: str, call_id: str) -> None:
        """The tenant is told. Doesn't fail."""
        ...

    def called_premium(self, aor: str, prefix: str, attempt: str) -> tuple[int, list[str]]:
        """An account has called a premium number: how many of those with new prefixes it has called lately, and
        which. An attempt with a prefix counts once, however often it is told of."""
        ...

    def suspend(self, aor: str, reason: str) -> None:
        """The account may do nothing any more, until somebody says otherwise."""
        ...

    def summary(self, aor: str) -> str:
        """The message summary of an account that was kept last (RFC 3842), or ""."""
        ...

    def keep_summary(self, aor: str, summary: str) -> None:
        """Doesn't fail."""
        ...

    def started(self, question: CallQuestion, tenant: str) -> None:
        """Whoever wants to know is told that a call is about to ring somebody. Doesn't fail."""
        ...
