"""A control plane in memory: the real call policy over dictionaries."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from lambdas.calls.decide import decide
from lambdas.calls.facts import AnsweredCall, CallWay, Domains
from lambdas.contract import (
    VERSION,
    BindingChange,
    BindingReport,
    CallAnswered,
    CallEnded,
    CallFailed,
    CallQuestion,
    Change,
    Decision,
    IncomingQuestion,
    ProviderReport,
    Push,
    PushQuestion,
    Question,
    Report,
)
from lambdas.decisions import register, report
from lambdas.decisions.digest import hashes
from lambdas.decisions.limits import SETUP, Admitted, CallLimits, Count, Slot, Used, admit
from lambdas.decisions.provider import StoredProvider, TenantSettings, Way
from lambdas.decisions.provider_places import ProviderPlaces
from lambdas.decisions.push import PAUSE, PushService
from lambdas.decisions.rules import Plan
from lambdas.decisions.values import Put, StoredAccount, StoredBinding
from lambdas.sandbox.client import Sandbox
from lambdas.services.keys import Keys

DOMAIN = "example.com"
DOMAINS = {DOMAIN: DOMAIN, "alias.example": DOMAIN}


class Control:
    """The control plane's call policy over dictionaries, with the same conditional writes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.accounts: dict[str, StoredAccount] = {}
        self.items: dict[tuple[str, str, str], StoredBinding] = {}
        self.expiries = register.Expiries()
        self.questions: list[Question] = []
        self.reports: list[Report] = []
        self.feed: list[Change] = []
        self.dark = False
        self.settings = TenantSettings()
        self.ways: dict[str, Way] = {}
        self.plans: dict[str, Plan] = {}
        self.store: dict[str, str] = {}
        self.summaries: dict[str, str] = {}
        self.places = ProviderPlaces()
        self.unknown: list[str] = []
        self.keys = Keys(lambda: b"a secret of the fleet's, 32 octets", lambda _: None)
        self.services: tuple[PushService, ...] = ()
        self.pushes: list[tuple[Push, PushQuestion]] = []
        self.pushed: dict[str, float] = {}
        self.pushing = True
        self.used: dict[str, Used] = {}
        self.emergencies: list[tuple[str, str]] = []
        self.premium: dict[str, set[tuple[str, str]]] = {}
        self.facts = MemoryFacts(self)

    def add(self, username: str, password: str, tenant: str = "t1") -> StoredAccount:
        account = StoredAccount(
            f"{username}@{DOMAIN}",
            tenant,
            **hashes(f"{username}@{DOMAIN}", password),
            version=round(self.clock() * 1000),
        )
        if account.aor in self.accounts:
            self.feed.append(Change(aor=account.aor, version=account.version))
        self.accounts[account.aor] = account
        return account

    def report(self, item: Report) -> None:
        """As the control plane applies it."""
        self.reports.append(item)
        if isinstance(item, BindingReport):
            self.write(tuple(report.decide(item, self.accounts.get(item.aor), self.bindings(item.aor), self.clock())))

    def bindings(self, aor: str) -> tuple[StoredBinding, ...]:
        return tuple(item for (owner, _, _), item in self.items.items() if owner == aor)

    def changes(self, address: str, since: float) -> list[BindingChange]:
        """What a heartbeat brings of the bindings at an edge address; the last ones come again."""
        now = self.clock()
        items = [item for item in self.items.values() if item.address == address]
        changed = [item for item in items if item.changed_at >= (since - 10) * 1000]
        return [item.as_change(now) for item in changed if item.live(now) or item.removed]

    def decide(self, question: Question) -> Decision:
        self.questions.append(question)
        return decide(question, self.facts)

    def write(self, puts: tuple) -> bool:
        keys = [(put.binding.aor, put.binding.key, put.binding.address) for put in puts]
        for put, key in zip(puts, keys, strict=True):
            old = self.items.get(key)
            if (old.revision if old else None) != put.seen:
                return False
        for put, key in zip(puts, keys, strict=True):
            self.items[key] = put.binding
        return True


class MemoryFacts:
    """Fulfils ``Facts``. Nobody is told of anything, nothing is looked up outside, and no report ends a call."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._domains = Domains(DOMAINS, DOMAIN, "1")
        self.clock = control.clock
        self.monotonic = control.clock
        self.sandbox = Sandbox()
        self.log: list[str] = []

    # Who there is

    def member(self, aor: str, called: str = "") -> tuple[StoredAccount | None, TenantSettings]:
        account, settings = self.account(aor), self._control.settings
        if account is not None:
            ways = {"media": account.media or settings.media, "site": account.site or settings.site}
            account = replace(account, **ways)
        return account, settings

    def account(self, aor: str) -> StoredAccount | None:
        return self._control.accounts.get(aor)

    def settings(self, tenant: str) -> TenantSettings:
        return self._control.settings

    def domains(self) -> Domains:
        return self._domains

    def provider(self, provider: str) -> StoredProvider | None:
        way = self.way(provider, "")
        return way.provider if way is not None else None

    def assigned(self, provider: str) -> str:
        way = self.way(provider, "")
        return way.address if way is not None and way.registered else ""

    def with_number(self, places: Sequence[str], number: str) -> StoredProvider | None:
        accounts = [way.provider for way in self._control.ways.values()]
        found = [one for one in accounts if number in one.numbers and one.host in places]
        return found[0] if len(found) == 1 else None

    def proven(self, provider: StoredProvider) -> bool:
        return any(
            isinstance(one, ProviderReport) and (one.provider, one.state) == (provider.id, "registered")
            for one in self._control.reports
        )

    def unknown_number(self, question: IncomingQuestion) -> None:
        self._control.unknown.append(question.number)

    def spoken(self) -> int:
        return VERSION

    def provider_places(self) -> ProviderPlaces:
        return self._control.places

    def way_of_call(self, way: str, call_id: str, tag: str) -> CallWay | None:
        return self._control.keys.way_of_call(way, call_id, tag, self.clock())

    def way(self, provider: str, address: str) -> Way | None:
        return self._control.ways.get(provider.rpartition("/")[2])

    # Where they are

    def bindings(self, aor: str) -> tuple[StoredBinding, ...]:
        return self._control.bindings(aor)

    def binding(self, binding: str) -> tuple[StoredBinding, ...]:
        return tuple(item for item in self._control.items.values() if item.id == binding)

    def write(self, puts: Sequence[Put]) -> bool:
        return self._control.write(tuple(puts))

    def turn(self, aor: str) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def pause(self, tries: int) -> None:
        pass

    def push_services(self, tenant: str) -> tuple[PushService, ...]:
        return self._control.services

    def push(self, item: StoredBinding, question: PushQuestion) -> bool:
        push, now = item.push, self.clock()
        assert push is not None
        last = self._control.pushed.get(push.prid, 0.0)
        if now - last > PAUSE:
            self._control.pushed[push.prid] = now
            self._control.pushes.append((push, question))
        return self._control.pushing

    def expiries(self) -> register.Expiries:
        return self._control.expiries

    def moved(self, account: StoredAccount, before: Sequence[StoredBinding], puts: Sequence[Put]) -> None:
        pass

    def call(self, tenant: str, started: int, call: str) -> AnsweredCall | None:
        reports = [one for one in self._control.reports if getattr(one, "call", "") == call]
        answered = next((one for one in reports if isinstance(one, CallAnswered)), None)
        if answered is None:
            return None
        called = answered.legs[0].to if answered.legs else ""
        over = any(isinstance(one, CallEnded) for one in reports)
        return AnsweredCall(frozenset({answered.caller, answered.account, called}), over)

    def refused(self, tenant: str, started: int, call_id: str) -> bool:
        return any(
            isinstance(one, CallFailed) and (one.tenant, one.started, one.call_id) == (tenant, started, call_id)
            for one in self._control.reports
        )

    # What plans say

    def published(self, plan: str) -> tuple[Plan, int] | None:
        found = self._control.plans.get(plan.rpartition("/")[2])
        return (found, 1) if found is not None else None

    def earlier(self, plan: str, number: int) -> Plan | None:
        return self._control.plans.get(plan.rpartition("/")[2])

    def log_plan(self, tenant: str, plan: str, text: str, call_id: str) -> None:
        self.log.append(text)

    # What scripts ask for

    def stored(self, tenant: str, key: str) -> str | None:
        return self._control.store.get(key)

    def may_store(self, tenant: str) -> bool:
        return True

    def store(self, tenant: str, key: str, value: str) -> None:
        self._control.store[key] = value

    def enum(self, number: str, zone: str) -> str:
        return ""

    def page(self, url: str, hosts: Collection[str]) -> tuple[int, str]:
        return 0, "nothing is outside"

    # What waits for them

    def summary(self, aor: str) -> str:
        return self._control.summaries.get(aor, "")

    def keep_summary(self, aor: str, summary: str) -> None:
        self._control.summaries[aor] = summary

    # What limits allow

    def admit(self, scope: str, limits: CallLimits, attempt: str) -> Admitted | str:
        now = self.clock()
        used = self._control.used.get(scope, Used(Count(), (), (), 0.0))
        admitted = admit(limits, used, attempt, now, time.strftime("%Y-%m-%d", time.gmtime(now)))
        if isinstance(admitted, Admitted):
            others = tuple(slot for slot in used.slots if slot.call != attempt)
            self._control.used[scope] = Used(admitted.own, (), (*others, Slot(attempt, now + SETUP)), used.spent)
        return admitted

    def withdraw(self, scopes: Iterable[str], attempt: str) -> None:
        for scope in scopes:
            used = self._control.used[scope]
            left = tuple(slot for slot in used.slots if slot.call != attempt)
            self._control.used[scope] = Used(used.own, (), left, used.spent)

    def called_emergency(self, account: StoredAccount, number: str, call_id: str) -> None:
        self._control.emergencies.append((account.aor, number))

    def called_premium(self, aor: str, prefix: str, attempt: str) -> tuple[int, list[str]]:
        called = self._control.premium.setdefault(aor, set())
        called.add((attempt, prefix))
        return len(called), sorted({prefix for _, prefix in called})

    def suspend(self, aor: str, reason: str) -> None:
        account = self._control.accounts[aor]
        self._control.accounts[aor] = replace(account, suspended=reason, enabled=False)

    def started(self, question: CallQuestion, tenant: str) -> None:
        pass
