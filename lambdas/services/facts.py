"""The facts of calls, as DynamoDB, DNS and the web have them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Sequence

from lambdas.calls.facts import BUSY, AnsweredCall, CallWay, Domains
from lambdas.contract import CallName, CallQuestion, IncomingQuestion, PushQuestion
from lambdas.decisions import register
from lambdas.decisions.limits import Admitted, CallLimits
from lambdas.decisions.provider import StoredProvider, TenantSettings, Way
from lambdas.decisions.provider_places import ProviderPlaces
from lambdas.decisions.push import PushService, phone_name
from lambdas.decisions.rules import Plan
from lambdas.decisions.values import Put, StoredAccount, StoredBinding
from lambdas.repositories.events import StoredEvent
from lambdas.repositories.models import AccountItem
from lambdas.repositories.open_calls import SUSPENDED
from lambdas.repositories.pushes import NotQueued, PushOrder
from lambdas.repositories.transactions import Busy, pause
from lambdas.sandbox.client import Sandbox
from lambdas.services.quotas import MOST_PUSHES
from lambdas.services.services import Services
from lambdas.services.suspension import suspend_account

log = logging.getLogger(__name__)

_LONGEST = 100  # characters of what others have written


class StoredFacts:
    """Fulfils ``Facts``, for one question."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._tables = services.tables
        self.clock = services.clock
        self.monotonic = time.monotonic
        self._read_ahead: dict[str, StoredAccount | None] = {}

    @property
    def sandbox(self) -> Sandbox:
        return self._services.sandbox

    # Who there is

    def member(self, aor: str, called: str = "") -> tuple[StoredAccount | None, TenantSettings]:
        owner = self._services.cache.owner(aor.rpartition("@")[2])
        account, settings, beside = self._tables.directory.member(aor, owner, called)
        if called:
            self._read_ahead = {called: beside}
        return account, settings

    def account(self, aor: str) -> StoredAccount | None:
        if aor in self._read_ahead:
            return self._read_ahead.pop(aor)
        return self._tables.directory.account(aor)

    def settings(self, tenant: str) -> TenantSettings:
        return self._tables.directory.settings(tenant)

    def domains(self) -> Domains:
        return self._services.cache.domains()

    def provider(self, provider: str) -> StoredProvider | None:
        found = self._tables.providers.get(provider)
        if found is not None:
            self._tables.providers.note_place(found, self.provider_places())
        return found

    def assigned(self, provider: str) -> str:
        found = self._tables.assignments.get(provider)
        return found.address if found is not None else ""

    def provider_places(self) -> ProviderPlaces:
        return self._services.cache.provider_places()

    def spoken(self) -> int:
        return self._services.fleet.spoken()

    def way_of_call(self, way: str, call_id: str, tag: str) -> CallWay | None:
        return self._services.keys.way_of_call(way, call_id, tag, self.clock())

    def with_number(self, places: Sequence[str], number: str) -> StoredProvider | None:
        found = {self._tables.providers.with_number(place, number) for place in places} - {""}
        return self.provider(found.pop()) if len(found) == 1 else None

    def proven(self, provider: StoredProvider) -> bool:
        return self._tables.providers.proven(provider)

    def unknown_number(self, question: IncomingQuestion) -> None:
        tenants = self.provider_places().trusting(question.places)
        about = ", ".join(question.places)[:_LONGEST]
        text = f"a call from {about} was for {question.number[:_LONGEST]}, which is in no account's numbers there"
        tenant = tenants.pop() if len(tenants) == 1 else ""  # else it could be anybody's: whoever runs the service
        if not self._services.quotas.logs.take(tenant or f"numbers {about}"):
            return
        try:
            event = StoredEvent("provider", self.clock(), text, about, question.call_id)
            self._tables.events.add(tenant, event)
        except Exception:
            log.exception("a call for a number that nobody has can't be told of")

    def way(self, provider: str, address: str) -> Way | None:
        found = self.provider(provider)
        if found is None:
            return None
        assigned = self._tables.assignments.get(provider) if found.registers else None
        if assigned is None or all(lease.address != assigned.address for lease in self._services.fleet.leases()):
            return Way(found, address, {})
        state = self._tables.providers.state(provider, found.call_id)
        is_there = state is not None and state.state == "registered" and state.address == assigned.address
        known = state.routes if state is not None and is_there else ()
        return Way(found, assigned.address, assigned.ports or {}, known, registered=True)

    # Where they are

    def bindings(self, aor: str) -> tuple[StoredBinding, ...]:
        return self._tables.bindings.of(aor)

    def binding(self, binding: str) -> tuple[StoredBinding, ...]:
        return self._tables.bindings.by_id(binding)

    def write(self, puts: Sequence[Put]) -> bool:
        return self._tables.bindings.write(puts)

    def turn(self, aor: str) -> threading.Lock:
        return self._services.turns.of(aor)

    def pause(self, tries: int) -> None:
        pause(tries)

    def expiries(self) -> register.Expiries:
        return self._services.expiries

    def moved(self, account: StoredAccount, before: Sequence[StoredBinding], puts: Sequence[Put]) -> None:
        self._services.notices.moved(account.aor, account.tenant, before, puts, self.clock())

    def call(self, tenant: str, started: int, call: str) -> AnsweredCall | None:
        found = self._tables.calls.one(tenant, started, call)
        if found is None or found.answered is None:
            return None
        called = found.legs[0].to if found.legs else ""
        over = found.ended is not None
        if not over:
            item = self._tables.calls.open.get(CallName(tenant=tenant, started=started, call=call))
            over = item is not None and (item.why == SUSPENDED or item.left is not None)
        return AnsweredCall(frozenset({found.caller, found.account, called}), over)

    def refused(self, tenant: str, started: int, call_id: str) -> bool:
        return self._tables.calls.refused(tenant, started, call_id)

    # Waking them

    def push_services(self, tenant: str) -> tuple[PushService, ...]:
        return self._tables.push_services.of(tenant) if self._tables.pushes.available else ()

    def push(self, item: StoredBinding, question: PushQuestion) -> bool:
        push, pushes, now = item.push, self._tables.pushes, self.clock()
        assert push is not None
        kind = "call" if question.why == "call" else "other"  # which wakes some phones less quickly
        phone = f"{phone_name(item.tenant, push)}#{kind}"
        if not pushes.claim(phone, now):
            return True  # one is on its way
        if not (self._services.quotas.pushes.take(item.tenant) and pushes.take(item.aor, MOST_PUSHES, now)):
            self._note_push(item, f"{item.aor} wants to be woken too often; it isn't for the rest of the minute")
            pushes.release(phone)
            return False
        order = PushOrder(
            item.tenant, item.aor, item.id, push.provider, push.prid, push.param,
            question.why, question.call_id, question.caller, now,
        )  # fmt: skip
        try:
            pushes.send(order)
        except NotQueued:
            log.exception("a push to a phone of %s can't be sent", item.aor)
            pushes.release(phone)
            return False
        return True

    def _note_push(self, item: StoredBinding, text: str) -> None:
        if self._services.quotas.logs.take(item.tenant):
            try:
                self._tables.events.add(item.tenant, StoredEvent("push", self.clock(), text, item.aor))
            except Exception:
                log.exception("%s can't be told: %s", item.tenant, text)

    # What plans say

    def published(self, plan: str) -> tuple[Plan, int] | None:
        return self._tables.plans.published(plan)

    def earlier(self, plan: str, number: int) -> Plan | None:
        return self._tables.plans.earlier(plan, number)

    def log_plan(self, tenant: str, plan: str, text: str, call_id: str) -> None:
        if not self._services.quotas.logs.take(tenant):
            return
        try:
            self._tables.events.add(tenant, StoredEvent("plan", self.clock(), text, plan, call_id))
        except Exception:
            log.exception("the log of a dial plan can't be written")  # the call is worth more

    # What scripts ask for

    def stored(self, tenant: str, key: str) -> str | None:
        found = self._tables.store.get(tenant, key)
        return found.value if found is not None else None

    def may_store(self, tenant: str) -> bool:
        return self._services.quotas.puts.take(tenant)

    def store(self, tenant: str, key: str, value: str) -> None:
        self._tables.store.put(tenant, key, value)

    def enum(self, number: str, zone: str) -> str:
        return self._services.lookups.enum.find(number, zone)

    def page(self, url: str, hosts: Collection[str]) -> tuple[int, str]:
        return self._services.lookups.pages.get(url, hosts)

    # What waits for them

    def summary(self, aor: str) -> str:
        return self._tables.summaries.get(aor)

    def keep_summary(self, aor: str, summary: str) -> None:
        try:
            self._tables.summaries.put(aor, summary, self.clock())
        except Exception:
            log.exception("a message summary of %s can't be kept", aor)  # its phones are told all the same

    # What limits allow

    def admit(self, scope: str, limits: CallLimits, attempt: str) -> Admitted | str:
        try:
            return self._tables.usage.admit(scope, limits, attempt, self.clock())
        except Busy:
            return BUSY

    def withdraw(self, scopes: Iterable[str], attempt: str) -> None:
        self._tables.usage.withdraw(scopes, attempt, self.clock())

    def called_emergency(self, account: StoredAccount, number: str, call_id: str) -> None:
        standing = "" if account.enabled else ", though it is suspended or disabled"
        text = f"{account.aor} has called {number}{standing}"
        log.warning("emergency call: %s", text)
        try:
            event = StoredEvent("emergency", self.clock(), text, account.aor, call_id)
            self._tables.events.add(account.tenant, event)
        except Exception:
            log.exception("an emergency call can't be told of")  # the call is worth more

    def called_premium(self, aor: str, prefix: str, attempt: str) -> tuple[int, list[str]]:
        return self._tables.abuse.called_premium(aor, prefix, attempt, self.clock())

    def suspend(self, aor: str, reason: str) -> None:
        item = self._tables.directory.get(AccountItem, aor)
        if item is not None and not item.suspended:
            suspend_account(item, reason, self._services)

    def started(self, question: CallQuestion, tenant: str) -> None:
        self._services.notices.started(question, tenant, self.clock())
