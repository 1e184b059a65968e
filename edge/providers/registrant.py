"""One provider account's registration: a state machine without I/O (RFC 3261 §10.2, §10.3 as its counterpart).

It is registered by whoever holds its edge address, and only inside the time in which nobody else can: the deadline goes
along with every REGISTER, and is checked again right before it leaves.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Literal

from edge.providers.credentials import Authorizer, Hashes
from edge.providers.host import ProviderHost, Realm
from edge.providers.redirection import redirected_to
from edge.providers.register import (
    LONGEST_EXPIRES,
    LONGEST_UDP,
    MOST_ROUTES,
    clean,
    contact_of,
    granted,
    register,
    retry_after,
    seconds_of,
)
from edge.providers.silence import BASE, LONGEST, Silence
from edge.sip.errors import ParseError
from edge.sip.flow import Flow, ServerAddress
from edge.sip.headers import NameAddr, values_of
from edge.sip.message import Request, Response
from edge.sip.server_names import server_name
from edge.sip.transaction import NonInviteClient
from edge.sip.transaction.client import ClientTransaction
from edge.sip.uri import Uri
from lambdas.contract import ProviderAccount, ProviderReport, Server

CSEQ_ZERO = 1_577_836_800  # 2020-01-01: CSeqs are seconds since then, so that none has to be stored
REFUSED, LONGEST_REFUSED = 600.0, 21_600.0
"""Seconds between attempts that a provider refuses, which may ban those who insist: doubled each time, up to the
longest."""
_REFUSALS = frozenset((403, 404, 405, 410, 501, 603, 604, 606))
"""Statuses that say no to the account, where others say that it doesn't work just now."""
_MOST_ANSWERS = 6  # challenges, 423 and 3xx in a row
_LONGEST_LOSS = 300.0  # seconds before a lost connection is made again, if that happens all the time
_WAIT = 1.0  # seconds until the lease is looked at again


Reported = Literal["registered", "failing", "unregistered"]


class RegistrationState(Enum):
    BOUND = "bound"
    """As far as is known: whoever had the address before may have registered it, and so may a REGISTER whose answer
    was lost."""
    REGISTERED = "registered"
    UNBOUND = "unbound"
    """The provider has refused it: there is nothing to take back."""
    LEAVING = "leaving"
    """Being taken back."""
    MOVING = "moving"
    """Being taken back, which isn't reported: the account goes on otherwise."""
    OVER = "over"


class Registrant:
    """``flow`` is that of the last REGISTER that was sent, and ``sources`` the provider's addresses as last resolved.
    ``accepted_at`` is the address of the server that has registered the account as it is, "" before that: there its
    user name is the tenant's."""

    def __init__(
        self,
        host: ProviderHost,
        account: ProviderAccount,
        address: str,
        now: float,
        pace: Callable[[float], float],
        silence: Silence,
        learnt: Callable[[], None],
        known: Mapping[Realm, str] = MappingProxyType({}),
    ) -> None:
        """``pace`` gives the time at which a REGISTER may leave that is due now, ``silence`` whose turn it is where
        nobody has answered yet; ``learnt`` is told when another realm has asked; ``known`` are the hashes that were
        kept of its password."""
        self.account = account
        self.address = address
        self.accepted_at = ""
        self.flow: Flow | None = None
        self.sources: frozenset[str] = frozenset()
        self.timers: dict[str, int] = {}
        self._state = RegistrationState.BOUND
        self._host = host
        self.hashes = Hashes(account.secret, learnt, known)
        self._authorizer = Authorizer(self.hashes)
        self._silence = silence
        self.tenant = account.id.partition("/")[0]
        self._asked = ""
        self._tag = host.new_token()
        self._cseq = 0
        self._expires = account.expires
        self._servers: list[ServerAddress] = []
        self._redirected: Server | None = None
        self._answers = 0
        self._failures = 0
        self._refusals = 0
        self._asking = 0
        self._transaction: ClientTransaction | None = None
        self._told: ProviderReport | None = None
        self._pace = pace
        self._lost = 0
        self._arm(now)

    @property
    def registered(self) -> bool:
        return self._state is RegistrationState.REGISTERED

    @property
    def over(self) -> bool:
        """Nothing more comes of it."""
        return self._state is RegistrationState.OVER

    @property
    def _leaving(self) -> bool:
        return self._state in (RegistrationState.LEAVING, RegistrationState.MOVING)

    def replace(self, account: ProviderAccount, now: float) -> None:
        """It has been changed: register with what it says now, at once. Nothing has if it is only that its password is
        known again."""
        if without_password(account) == self.account:
            self.account, self.hashes.secret = account, account.secret
            return
        self.account = account
        self.hashes = Hashes(account.secret, self.hashes.learnt)
        self._authorizer = Authorizer(self.hashes)
        self.accepted_at = ""
        self._expires = account.expires
        self._failures = self._refusals = 0
        self._abandon()
        self._withdraw()
        self._arm(now)

    def leave(self, now: float, quiet: bool) -> None:
        """Unregister, and be done; ``quiet``: without a report, since the account goes on otherwise."""
        bound = self._state is not RegistrationState.UNBOUND
        self._state = RegistrationState.MOVING if quiet else RegistrationState.LEAVING
        self._abandon()
        if bound:
            self._failures = 0
            self._arm(now)
        else:
            self._finish(now)

    def drop(self) -> None:
        """The address is another edge's now: say nothing more."""
        self._abandon()
        self._withdraw()
        self.timers.clear()
        self._state = RegistrationState.OVER

    def flow_closed(self, now: float) -> None:
        """The connection is gone, and with it the way for calls to come in."""
        if self.registered and self._transaction is None:
            # Again and again, if a provider closes whenever it has answered.
            self._arm(now + min(_LONGEST_LOSS, 2.0**self._lost))
            self._lost = min(self._lost + 1, 10)

    def on_timer(self, name: str, now: float) -> None:
        if name == "steady":
            self._lost = 0
        else:
            self._register(now, paced=name == "paced")

    # One attempt

    def _register(self, now: float, paced: bool) -> None:
        """``paced``: it has waited for its turn."""
        if not self._host.registers:
            self._host.resolve(self.account.server, self.address, self._note_sources)
            return
        since, until = self._host.exclusive(self.address)
        if not since <= now < until:
            self._arm(max(now + _WAIT, since if since < now + 60 else 0.0))
            if not self.sources:
                # The registration of before is good for calls in.
                self._host.resolve(self.account.server, self.address, self._note_sources)
            return
        at = now if paced else self._pace(now)
        if at > now:
            self._host.timers.start(self, "paced", at)
            return
        self._answers = 0
        self._redirected = None
        self._authorizer.begin()
        self._resolve(self.account.server, now)

    def _resolve(self, server: Server, now: float) -> None:
        self._asking += 1
        asking = self._asking

        def resolved(addresses: list[ServerAddress], fault: str, at: float) -> None:
            if asking != self._asking:
                return  # overtaken by a change
            if not addresses:
                self._failed(0, fault, 0.0, at)
                return
            self._note_sources(addresses, fault, at)
            here = self.flow and (self.flow.transport, self.flow.host, self.flow.remote_port)
            # The server that has the registration is kept while it is among them.
            kept = self.registered or self._leaving
            self._servers = sorted(addresses, key=lambda address: kept and address != here)
            self._send(at)

        self._host.resolve(server, self.address, resolved)

    def _note_sources(self, addresses: list[ServerAddress], fault: str, now: float) -> None:
        self.sources |= {address[1] for address in addresses}

    def _send(self, now: float) -> None:
        transport, ip, port = self._servers[0]
        host = self._host
        since, until = host.exclusive(self.address)
        if not since <= now < until:
            self._arm(now + _WAIT)
            return
        self._asked = ip
        if not self._silence.may_ask(self.tenant, ip, self._wake, now):
            return
        self._cseq = max(self._cseq + 1, int(host.wall(now)) - CSEQ_ZERO)
        branch = host.new_branch()
        seconds = 0 if self._leaving else self._expires
        credentials = self._authorizer.headers("REGISTER", self.account.registrar, host.new_token())

        def made(flow: Flow) -> Request:
            by_proxy = self._redirected is None
            return register(
                self.account, flow, host.places, branch, self._tag, self._cseq, seconds, by_proxy, credentials
            )

        flow = self._flow_to(transport, ip, port)
        request = made(flow)
        if not flow.reliable and not self.registered and len(request.to_bytes()) > LONGEST_UDP:
            flow = self._flow_to("tcp", ip, port)  # a registration is a flow, but there is none yet
            request = made(flow)
        self.flow = flow
        if self._state is RegistrationState.UNBOUND:
            self._state = RegistrationState.BOUND
        self._transaction = NonInviteClient(_DeadlineSender(host), self, request, branch, flow)
        host.begin(self._transaction, now)

    def _flow_to(self, transport: str, ip: str, port: int) -> Flow:
        server = self._redirected or self.account.server
        name = server_name(server.host, server.ca) if transport == "tls" else ""
        return Flow(self.address, self._host.port(transport), transport, ip, port, 0, name)

    def _wake(self, now: float, at: float) -> None:
        """Another account has asked the server, which has answered, or hasn't: ours may be tried ``at``."""
        if at > now and self._leaving:
            self._finish(now)  # nothing was ever registered with whoever never answers
            return
        if at > now:
            self._tell("failing", now, 0, "no answer there to another account's REGISTER", at)
        self._arm(at)

    # What came of it

    def on_response(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        self._silence.heard(transaction.flow.host, now)
        if transaction is not self._transaction or response.status < 200:
            return
        self._transaction = None
        status = response.status
        reason = f"{status} {response.reason}"
        if status < 300:
            self._succeeded(response, now)
        elif status in (401, 407):
            if self._again() and self._authorizer.challenged(response):
                self._send(now)
            else:
                self._refused(status, f"{reason}: {self._authorizer.fault}", retry_after(response), now)
        elif status == 423 and self._again() and self._longer(response):
            self._send(now)
        elif status in (301, 302, 305) and self._again() and self._follow(response, now):
            pass
        elif status in _REFUSALS:
            self._state = self._state if self._leaving else RegistrationState.UNBOUND
            self._refused(status, reason, retry_after(response), now)
        elif status in (408, 430) or status >= 500:
            self._next_server(status, reason, retry_after(response), now)
        else:
            self._failed(status, reason, retry_after(response), now)

    def on_timeout(self, transaction: ClientTransaction, now: float) -> None:
        if transaction is self._transaction:
            self._not_heard("no answer", now)

    def on_transport_error(self, transaction: ClientTransaction, now: float) -> None:
        if transaction is self._transaction:
            self._not_heard(clean(transaction.fault) or "no connection", now)

    def on_end(self, transaction: ClientTransaction) -> None: ...

    def _not_heard(self, reason: str, now: float) -> None:
        self._transaction = None
        wait = self._silence.failed(self.tenant, self._asked, self._wake, now) - now
        self._next_server(0, reason, wait, now)

    def _again(self) -> bool:
        self._answers += 1
        return self._answers <= _MOST_ANSWERS

    def _succeeded(self, response: Response, now: float) -> None:
        if self._leaving:
            self._finish(now)
            return
        self._authorizer.accepted(response)
        flow = self.flow
        assert flow is not None
        expires = granted(response, contact_of(self.account, flow, self._host.places), self._expires)
        if expires <= 0:
            self._failed(response.status, "the provider accepted, and registered nothing", 0.0, now)
            return
        self._failures = self._refusals = 0
        self._state = RegistrationState.REGISTERED
        self.accepted_at = flow.host
        period = max(10, expires - 60) if expires > 120 else max(5, expires // 2)
        routes = [value for line in response.values("service-route") for value in values_of(line)]
        self._tell("registered", now, response.status, "", 0.0, expires, period, routes)
        self._arm(now + period)
        self._host.timers.start(self, "steady", now + _LONGEST_LOSS)

    def _longer(self, response: Response) -> bool:
        wanted = seconds_of(response.get("min-expires"), 0)
        if not self._expires < wanted <= LONGEST_EXPIRES:
            return False
        self._expires = wanted
        return True

    def _follow(self, response: Response, now: float) -> bool:
        """§8.1.3.4: to the first Contact of a redirection."""
        try:
            uri = Uri.parse(NameAddr.parse(values_of(response.get("contact") or "")[0]).uri)
        except (ParseError, IndexError):
            return False
        server = redirected_to(uri, self.account.server)
        if server is None:
            return False
        self._authorizer.forget()
        self._redirected = server
        self._resolve(self._redirected, now)
        return True

    def _next_server(self, status: int, reason: str, wait: float, now: float) -> None:
        del self._servers[0]
        if self._servers:
            self._authorizer.forget()
            self._send(now)
        else:
            self._failed(status, reason, wait, now)

    def _failed(self, status: int, reason: str, wait: float, now: float) -> None:
        """It didn't work: to be tried again, after ``wait`` seconds at least."""
        delay = min(LONGEST, BASE * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._again_in(max(self._spread(delay), wait), status, reason, now)

    def _refused(self, status: int, reason: str, wait: float, now: float) -> None:
        """The provider doesn't want the account as it is. It is asked again all the same, seldom: whoever answers may
        have been wrong. The first time it is believed when it says after how long (``wait``, seconds)."""
        delay = min(LONGEST_REFUSED, REFUSED * 2**self._refusals)
        first = not self._refusals
        self._refusals = min(self._refusals + 1, 10)
        self._again_in(wait if first and wait else max(self._spread(delay), wait), status, reason, now)

    def _spread(self, delay: float) -> float:
        """From half of it on (RFC 5626 §4.5), so that a provider that comes back isn't met by everybody at once."""
        share = zlib.crc32(f"{self.account.id} {self._cseq} {self._failures}".encode()) / 2**32
        return delay * (0.5 + share / 2)

    def _again_in(self, delay: float, status: int, reason: str, now: float) -> None:
        if self._leaving:
            self._finish(now)
            return
        if self.registered:
            self._state = RegistrationState.BOUND
        self._tell("failing", now, status, reason, now + delay)
        self._arm(now + delay)

    def _finish(self, now: float) -> None:
        reported = self._state is not RegistrationState.MOVING
        self._state = RegistrationState.OVER
        self._withdraw()
        self.timers.clear()
        if reported:
            self._tell("unregistered", now)

    def _tell(
        self,
        state: Reported,
        now: float,
        status: int = 0,
        reason: str = "",
        next_at: float = 0.0,
        expires: int = 0,
        period: int = 0,
        routes: list[str] | None = None,
    ) -> None:
        """Report what has changed: refreshes that go as before are no news."""
        flow = self.flow
        report = ProviderReport(
            provider=self.account.id,
            address=self.address,
            state=state,
            at=self._host.wall(now),
            expires=expires,
            period=period,
            status=status,
            reason=clean(reason),
            next_at=self._host.wall(next_at) if next_at else 0.0,
            server=f"{flow.transport}:{flow.remote}" if flow is not None else "",
            routes=[clean(route) for route in routes or []][:MOST_ROUTES],
            call_id=self.account.call_id,
            version=self.account.version,
        )
        if self._told is None or state == "failing" or report != self._told.model_copy(update={"at": report.at}):
            self._told = report
            self._host.journal(report)

    def _abandon(self) -> None:
        self._asking += 1
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abandon()

    def _withdraw(self) -> None:
        """Another account may ask the server."""
        self._silence.withdrawn(self.tenant, self._asked, self._wake)

    def _arm(self, at: float) -> None:
        self.timers.pop("paced", None)
        self._host.timers.start(self, "register", at)


def without_password(account: ProviderAccount) -> ProviderAccount:
    """As it is kept on the disk."""
    return account.model_copy(update={"secret": account.secret.model_copy(update={"password": ""})})


class _DeadlineSender:
    """Sends REGISTERs, each with its deadline."""

    def __init__(self, host: ProviderHost) -> None:
        self._state = RegistrationState.BOUND
        self._host = host
        self.timers = host.timers

    def transmit(self, flow: Flow, data: bytes, ref: str) -> None:
        self._host.transmit(flow, data, ref, self._host.exclusive(flow.address)[1])

    def terminated(self, transaction: ClientTransaction) -> None:
        self._host.terminated(transaction)
