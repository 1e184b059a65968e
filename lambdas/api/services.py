"""What the routes work with, and the little that a warm process remembers between requests."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lambdas.api.notices import Notices
from lambdas.api.rates import Rate, Recent
from lambdas.calls.script_world import PUTS_A_MINUTE, ScriptWorld
from lambdas.contract import FleetKey
from lambdas.decisions.lease import Lease
from lambdas.decisions.register import Limits
from lambdas.lookups.enum import Enum
from lambdas.lookups.mail import Mail
from lambdas.lookups.pages import Pages
from lambdas.lookups.proof import Proof
from lambdas.repositories.abuse import Abuse
from lambdas.repositories.accounts import Accounts
from lambdas.repositories.addresses import Addresses
from lambdas.repositories.assignments import Assignments
from lambdas.repositories.bindings import Bindings
from lambdas.repositories.calls import Calls
from lambdas.repositories.directory import Directory
from lambdas.repositories.events import Events
from lambdas.repositories.hooks import Hooks
from lambdas.repositories.idempotency import Idempotency
from lambdas.repositories.leases import Leases, Presence
from lambdas.repositories.members import Members
from lambdas.repositories.models import PROBES, AccountItem, Common, EdgeItem
from lambdas.repositories.plans import Plans
from lambdas.repositories.probes import Probes
from lambdas.repositories.providers import Providers
from lambdas.repositories.store import Store
from lambdas.repositories.transactions import Turns
from lambdas.repositories.usage import Usage
from lambdas.repositories.vault import Vault
from lambdas.sandbox.client import Sandbox

DAY = 86_400
VERIFY_DAYS = 8  # a token of a day's last second verifies for 7 days more
_TOKEN_KEY = 64
_FAILURES_A_MINUTE = 120  # failed authentications of a source that are noted, in this process; then it is banned
_MAILS_TO_ONE, _MAILS_FROM_ONE = 5, 20  # an hour, to one address and for one source, in this process
_HOUR = 3600.0
_CONFIRMATIONS = 20  # tries of a token a minute, of one source, in this process
_GOOD_KEYS = 1000
_PINGS = 20  # a minute, of one tenant, in this process
_LOGS_A_MINUTE = 60  # entries in the log of a tenant's plans, in this process
_Value = TypeVar("_Value")


class Cached(Generic[_Value]):
    """A value read again once it is ``seconds`` old."""

    def __init__(self, read: Callable[[], _Value], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._until = 0.0
        self._value: _Value | None = None

    def get(self, fresh: bool = False) -> _Value:
        now = time.monotonic()
        if self._value is None or fresh or now >= self._until:
            self._value = self._read()
            self._until = now + self._seconds
        return self._value

    def put(self, value: _Value) -> None:
        """It is ``value`` by now, for as long as the last reading counts."""
        self._value = value


@dataclass(frozen=True, slots=True)
class Domains:
    """``names`` maps each name and alias to its canonical name; ``version`` changes with them."""

    names: dict[str, str]
    default: str
    version: str


class Services:
    """One for each process."""

    def __init__(self, clock: Callable[[], float] = time.time, limits: Limits | None = None) -> None:
        self.clock = clock
        self.region = Common.region
        self.limits = limits or Limits()
        self.directory = Directory()
        self.accounts = Accounts(self.directory)
        self.bindings = Bindings()
        self.turns = Turns()
        self.leases = Leases()
        self.assignments = Assignments()
        vault = Vault()
        self.providers = Providers(self.directory, vault)
        self.hooks = Hooks(self.directory, vault)
        self.notices = Notices(self.directory, self.hooks)
        self.plans = Plans(self.directory)
        self.members = Members(self.directory)
        self.usage = Usage()
        self.abuse = Abuse()
        self.probes = Probes()
        self.status: Cached[tuple[str, str]] = Cached(self._status, 10.0)
        self._probed: dict[str, Cached[bool]] = {}
        self.mail = Mail()
        self.public_url = os.environ.get("PUBLIC_URL", "").rstrip("/")
        self.sign_up = os.environ.get("SIGN_UP", "") == "on"
        self.proof = Proof()
        self.api_rate = Rate(int(os.environ.get("API_RATE", "6000")))
        self.good_keys = Recent(_GOOD_KEYS)
        self.refused_rate = Rate(int(os.environ.get("REFUSED_RATE", "600")))
        self.mail_rate = Rate(_MAILS_TO_ONE, _HOUR)
        self.source_rate = Rate(_MAILS_FROM_ONE, _HOUR)
        self.confirm_rate = Rate(_CONFIRMATIONS)
        self.ping_rate = Rate(_PINGS)
        self.failure_rate = Rate(_FAILURES_A_MINUTE)
        self.bans: Cached[list[str]] = Cached(lambda: self.directory.bans(self.clock()), 2.0)
        self.calls = Calls(self.usage)
        self.events = Events()
        self.store = Store(self.directory)
        self.idempotency = Idempotency(self.directory)
        self.sandbox = Sandbox()
        self.enum = Enum()
        self.log_rate = Rate(_LOGS_A_MINUTE)
        self._pages = Pages()
        self._puts = Rate(PUTS_A_MINUTE)
        self.addresses = Addresses()
        self.fleet: Cached[tuple[list[Lease], list[Presence]]] = Cached(self._living, 1.0)
        self.domains: Cached[Domains] = Cached(self._read_domains, 1.0)
        self.heads: Cached[dict[str, tuple[int, int]]] = Cached(self.directory.feed.heads, 1.0)
        self._secret: Cached[bytes] = Cached(lambda: self.directory.fleet_secret(self.leases.once), 3600.0)
        self._edges: dict[str, Cached[EdgeItem | None]] = {}
        self._registered: Cached[list[EdgeItem]] = Cached(lambda: list(self.directory.all("edges")), 5.0)
        self._loads: dict[str, Cached[int]] = {}

    def script_world(self, tenant: str, hosts: frozenset[str], dry: bool = False) -> ScriptWorld:
        """What one run of a script may ask for; ``hosts`` are those that it may get pages of."""
        return ScriptWorld(tenant, self.store, self.enum, self._pages, hosts, self._puts, dry)

    def fleet_now(self, edge: str = "", addresses: Iterable[str] = ()) -> tuple[list[Lease], list[Presence]]:
        """Every lease and presence, run out or not; those of ``edge`` too if it has just been registered."""
        known = self._registered.get()
        names = {item.id for item in known} | ({edge} if edge else set())
        places = {address for item in known for address in item.addresses} | set(addresses)
        return self.leases.all(sorted(places), sorted(names))

    def addresses_known(self) -> list[str]:
        """Every edge address."""
        return sorted({address for item in self._registered.get() for address in item.addresses})

    def edges_for(self, address: str) -> list[str]:
        """The edges that may hold ``address``."""
        return [item.id for item in self._registered.get() if address in item.addresses]

    def load(self, address: str) -> int:
        """How many provider accounts ``address`` has, as of a few seconds ago."""
        if address not in self._loads:
            self._loads[address] = Cached(lambda: self.assignments.count(address), 5.0)
        return self._loads[address].get()

    def added(self, address: str) -> None:
        """An account was assigned to ``address``: the count of a few seconds ago mustn't draw all of them there."""
        load = self.load(address)
        self._loads[address].put(load + 1)

    def has_accounts(self, address: str) -> bool:
        return self.load(address) > 0

    def _living(self) -> tuple[list[Lease], list[Presence]]:
        now = self.clock()
        leases, present = self.fleet_now()
        return (
            [lease for lease in leases if lease.expires_at > now],
            [presence for presence in present if presence.expires_at > now],
        )

    def edge(self, edge: str) -> EdgeItem | None:
        """A registered edge; a removed one is noticed within 10 s."""
        if edge not in self._edges and len(self._edges) < 10_000:
            self._edges[edge] = Cached(lambda: self.directory.get(EdgeItem, edge), 10.0)
        found = self._edges[edge].get()
        if found is None:
            del self._edges[edge]  # so that names tried by strangers aren't kept
        return found

    def _read_domains(self) -> Domains:
        names, default = self.directory.domains()
        version = hashlib.sha256(json.dumps([sorted(names.items()), default]).encode()).hexdigest()[:16]
        return Domains(names, default, version)

    def derived(self, label: str) -> bytes:
        """A key of 32 octets for ``label``, the same in every process."""
        return _derive(self._secret.get(), label, 32)

    def has_probe(self, aor: str) -> bool:
        """Whether there is such an account of the service's own, as of a minute ago."""

        def found() -> bool:
            item = self.directory.get(AccountItem, aor)
            return item is not None and item.tenant == PROBES

        if aor not in self._probed:
            self._probed[aor] = Cached(found, 60.0)
        return self._probed[aor].get()

    def _status(self) -> tuple[str, str]:
        from lambdas.api import status_page  # its pictures take time to import, which edges' decisions haven't

        state = status_page.refresh(self.probes, self.clock())
        return status_page.render(state), status_page.as_json(state)

    def keys(self, now: float) -> list[FleetKey]:
        """The keys of tomorrow, today and the days that still verify: derived from the fleet's secret, so that every
        process in every Region has the same ones without writing any."""
        today = int(now) // DAY
        secret = self._secret.get()
        return [
            FleetKey(
                id=day % 256,
                nonce=base64.b64encode(_derive(secret, f"nonce {day}", 32)).decode(),
                token=base64.b64encode(_derive(secret, f"token {day}", _TOKEN_KEY)).decode(),
                use=day == today,
            )
            for day in range(today - VERIFY_DAYS, today + 2)
        ]


def _derive(secret: bytes, label: str, size: int) -> bytes:
    return HKDF(SHA256(), size, salt=None, info=f"sipwizard {label}".encode()).derive(secret)
