"""The registration agent: all provider accounts that register from addresses of this edge (RFC 3261 §10.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

from edge.providers.credentials import Hashes
from edge.providers.host import AccountKept, ProviderHost, Realm
from edge.providers.registrant import Registrant, without_password
from edge.providers.silence import Silence
from edge.sip.flow import Flow
from lambdas.contract import ProviderAccount, Server, called_number

_KEEPALIVE = 25.0  # seconds between keep-alives to a provider (RFC 5626 §4.4.1): most NATs forget UDP after 30
_SPREAD = 100.0  # REGISTERs that begin in a second, at most
_AT_ONCE = 5  # of them that don't wait for each other
_MOST_WAITING = 1000  # calls
_PATIENCE = 3.0  # seconds that a call waits for the accounts of an address that has just come here
_LOOK_AGAIN = 0.1
_MOST_ELSEWHERE = 1000  # accounts
_PING = b"\r\n\r\n"


class _Waiting(NamedTuple):
    user: str
    address: str
    until: float
    then: Callable[[float], None]


class Agent:
    """Keeps accounts registered, and tells which of them a call is for."""

    def __init__(self, host: ProviderHost) -> None:
        self._host = host
        self._registrants: dict[str, Registrant] = {}
        self._by_contact: dict[str, Registrant] = {}
        self._by_number: dict[tuple[str, str], list[Registrant]] = {}
        self._leaving: list[Registrant] = []
        self._epochs: dict[str, int] = {}
        self._complete: set[str] = set()
        self._waiting: list[_Waiting] = []
        self._next = float("-inf")
        self._silence = Silence()
        self._changed: set[str] = set()
        self._remembered: dict[str, AccountKept] = {}
        self._elsewhere: OrderedDict[str, Server] = OrderedDict()
        self._arriving: frozenset[str] = frozenset()
        self.timers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._registrants)

    def registered(self) -> int:
        """How many are."""
        return sum(registrant.registered for registrant in self._registrants.values())

    def assign(
        self, address: str, accounts: Iterable[ProviderAccount], gone: Iterable[str], complete: bool, now: float
    ) -> None:
        """``accounts`` are claimed for ``address`` in its present epoch; those of ``gone`` aren't any more.
        ``complete``: with these all are here that ``address`` has."""
        if complete:
            self._complete.add(address)
        for account in accounts:
            known = self._registrants.get(account.id)
            if known is not None and (
                known.address != address or not account.enabled or _moved(known.account, account)
            ):
                self._remove(account.id, now, quiet=account.enabled)
                known = None
            if known is not None:
                if known.account != account:
                    self._note_numbers(known, False)
                    known.replace(account, now)
                    self._note_numbers(known, True)
                    self._changed.add(account.id)
            elif account.enabled:
                self._add(self._made(account, address, now))
        for name in gone:
            self._remove(name, now, quiet=False)
        self._keep_on(now)

    def keep_only(self, epochs: Mapping[str, int], arriving: frozenset[str], now: float) -> None:
        """These addresses are held here, in these epochs, and others are on their way. What was claimed in other epochs
        has to be claimed again, by whoever holds the addresses by now."""
        if (epochs, arriving) == (self._epochs, self._arriving):
            return
        self._arriving = arriving
        lost = {address for address, epoch in self._epochs.items() if epochs.get(address) != epoch}
        self._epochs = dict(epochs)
        self._complete -= lost
        for name, registrant in list(self._registrants.items()):
            if registrant.address in lost:
                registrant.drop()
                self._forget(name)
        for registrant in self._leaving:
            if registrant.address in lost:
                registrant.drop()
        self._leaving = [registrant for registrant in self._leaving if not registrant.over]
        self._take_back(now)

    def when_known(self, user: str, flow: Flow, then: Callable[[float], None], now: float) -> bool | None:
        """Whether it is known by now if ``user`` stands for an account: all accounts of the address are here, and where
        their providers are is resolved. Otherwise ``then`` is called when it is known, or after a while; None if too
        many wait already."""
        if self._is_known(user, flow.address):
            return True
        if len(self._waiting) >= _MOST_WAITING:
            return None
        self._waiting.append(_Waiting(user, flow.address, now + _PATIENCE, then))
        self._host.timers.start(self, "waiting", now + _LOOK_AGAIN)
        return False

    def complete(self, address: str) -> bool:
        """Whether all accounts of ``address`` are here."""
        return address in self._complete

    def _is_known(self, user: str, address: str) -> bool:
        named = self._by_contact.get(user)
        known = [named] if named is not None else self._by_number.get((address, called_number(user)), ())
        return address in self._complete and all(registrant.sources for registrant in known)

    def known(self, provider: str) -> bool:
        return provider in self._registrants

    def is_source(self, provider: str, host: str) -> bool:
        """Whether requests of account ``provider`` may come from IP address ``host``, if it is known here."""
        registrant = self._registrants.get(provider)
        return registrant is not None and _comes_from(registrant, host)

    def account_of(self, user: str, flow: Flow) -> str:
        """The account that a request for the Contact's ``user`` on ``flow`` is for: it has to come from where the
        provider is ("" if there is none, or it doesn't)."""
        registrant = self._by_contact.get(unquote(user) if "%" in user else user)
        if registrant is None or registrant.address != flow.address:
            return ""
        return registrant.account.id if _comes_from(registrant, flow.host) else ""

    def account_with(self, number: str, flow: Flow, neighbours: Collection[str]) -> str:
        """The same, where the provider names the account by a number of its own or its user name, as
        ``called_number`` has it. ``neighbours`` are the tenants that have accounts at the address that it comes from.
        Those of whom the server there has accepted a REGISTER come first; of the others, whose addresses are what they
        say, the ones that have no neighbours. "" if they are two tenants'."""
        known = [one for one in self._by_number.get((flow.address, number), ()) if _comes_from(one, flow.host)]
        found = [one for one in known if one.accepted_at == flow.host]
        found = found or [one for one in known if all(name == one.tenant for name in neighbours)]
        return found[0].account.id if len({one.tenant for one in found}) == 1 else ""

    def hashes(self, provider: str) -> Hashes | None:
        """What answers a provider's challenges, if its account is here."""
        registrant = self._registrants.get(provider)
        return registrant.hashes if registrant is not None else None

    def server(self, provider: str) -> Server | None:
        """Where its requests go, if that is known here."""
        registrant = self._registrants.get(provider)
        return registrant.account.server if registrant is not None else self._elsewhere.get(provider)

    def note_server(self, provider: str, server: Server) -> None:
        """Of an account that others register, or nobody."""
        self._elsewhere[provider] = server
        self._elsewhere.move_to_end(provider)
        if len(self._elsewhere) > _MOST_ELSEWHERE:
            self._elsewhere.popitem(last=False)

    def port(self, transport: str) -> int:
        """The port of our addresses for a transport."""
        return self._host.port(transport)

    # For a restart in the dark

    def take_changed(self, limit: int) -> list[tuple[str, AccountKept | None]]:
        """Up to ``limit`` accounts that have changed since they were last taken; None for one that isn't here any
        more."""
        names = [self._changed.pop() for _ in range(min(limit, len(self._changed)))]
        return [(name, self._record(name)) for name in names]

    def put_back(self, names: list[str]) -> None:
        """They couldn't be written: they are still to be taken."""
        self._changed.update(names)

    def _record(self, name: str) -> AccountKept | None:
        registrant = self._registrants.get(name)
        if registrant is None:
            return None
        epoch = self._epochs.get(registrant.address, 0)
        account, known = without_password(registrant.account), dict(registrant.hashes.known)
        return AccountKept(account, registrant.address, epoch, known)

    def restore(self, kept: Iterable[tuple[str, AccountKept]], dark: bool, now: float) -> None:
        """What was kept. In the ``dark`` it is taken back, for addresses that are still held in the same epoch, as soon
        as they are here; else it is no longer true, and the accounts are fetched."""
        for name, record in kept:
            if dark and name not in self._registrants:
                self._remembered[name] = record
            else:
                self._changed.add(name)
        self._take_back(now)

    def _take_back(self, now: float) -> None:
        for name, record in list(self._remembered.items()):
            epoch = self._epochs.get(record.address)
            if name not in self._registrants and epoch == record.epoch:
                self._add(self._made(record.account, record.address, now, record.hashes))
            elif name not in self._registrants and epoch is None and record.address in self._arriving:
                continue
            del self._remembered[name]
            self._changed.add(name)
        self._keep_on(now)

    def _keep_on(self, now: float) -> None:
        if self._registrants and "keepalive" not in self.timers:
            self._host.timers.start(self, "keepalive", now + _KEEPALIVE)

    def _made(
        self,
        account: ProviderAccount,
        address: str,
        now: float,
        known: Mapping[Realm, str] = MappingProxyType({}),
    ) -> Registrant:
        self._changed.add(account.id)

        def learnt() -> None:
            self._changed.add(account.id)

        return Registrant(self._host, account, address, now, self._pace, self._silence, learnt, known)

    def keeps(self, flow: Flow) -> bool:
        """Whether an account is registered by this connection of ours."""
        return not flow.connection and any(one.flow == flow and one.registered for one in self._registrants.values())

    def _add(self, registrant: Registrant) -> None:
        account = registrant.account
        self._registrants[account.id] = self._by_contact[account.contact_user] = registrant
        self._note_numbers(registrant, True)

    def _note_numbers(self, registrant: Registrant, known: bool) -> None:
        """That its calls may name it so, or may no more."""
        account = registrant.account
        username = account.aor.partition(":")[2].rpartition("@")[0]
        for number in {called_number(username), *account.numbers}:
            key = registrant.address, number
            others = [one for one in self._by_number.pop(key, ()) if one is not registrant]
            if known or others:
                self._by_number[key] = [*others, registrant] if known else others

    def flow_closed(self, flow: Flow, now: float) -> None:
        if flow.connection:
            return  # a phone's
        for registrant in self._registrants.values():
            if registrant.flow == flow:
                registrant.flow_closed(now)

    def on_timer(self, name: str, now: float) -> None:
        if name == "waiting":
            self._go_on(now)
        else:
            self._keep_alive(now)

    def _go_on(self, now: float) -> None:
        waiting, self._waiting = self._waiting, []
        due: list[_Waiting] = []
        for item in waiting:
            over = item.until <= now or self._is_known(item.user, item.address)
            (due if over else self._waiting).append(item)
        if self._waiting:
            self._host.timers.start(self, "waiting", now + _LOOK_AGAIN)
        for item in due:
            item.then(now)

    def _keep_alive(self, now: float) -> None:
        """Keep the ways open on which calls come in: one packet for each, however many accounts use it."""
        flows = {registrant.flow for registrant in self._registrants.values() if registrant.registered}
        for flow in flows:
            if flow is not None:
                self._host.transmit(flow, _PING, "")
        if self._registrants:
            self._host.timers.start(self, "keepalive", now + _KEEPALIVE)

    def _pace(self, now: float) -> float:
        """When the next REGISTER may leave: after a takeover all are due at once."""
        self._next = max(now - _AT_ONCE / _SPREAD, self._next) + 1 / _SPREAD
        return self._next

    def _remove(self, name: str, now: float, quiet: bool) -> None:
        registrant = self._registrants.get(name)
        if registrant is not None:
            self._forget(name)
            registrant.leave(now, quiet)
            self._leaving = [item for item in [*self._leaving, registrant] if not item.over]

    def _forget(self, name: str) -> None:
        registrant = self._registrants.pop(name)
        self._changed.add(name)
        self._by_contact.pop(registrant.account.contact_user, None)
        self._note_numbers(registrant, False)


def _comes_from(registrant: Registrant, host: str) -> bool:
    if host in registrant.sources:
        return True
    source = ip_address(host)
    return any(source in ip_network(network) for network in registrant.account.sources)


def _moved(old: ProviderAccount, new: ProviderAccount) -> bool:
    """Whether the old registration has to be taken back, since the new one is another."""
    names = ("server", "registrar", "aor", "contact_user", "call_id")
    return any(getattr(old, name) != getattr(new, name) for name in names)
