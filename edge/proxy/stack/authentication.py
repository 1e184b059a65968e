"""Asking for credentials, unasked by the control plane (RFC 3261 §22), and reading the ones that come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edge.proxy.location.bindings import HeldBindings
from edge.proxy.location.grants import Grants, HeldGrant
from edge.proxy.stack.algorithms import Algorithms, permitted
from edge.proxy.stack.answers import retry_after
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.own_places import OwnPlaces
from edge.proxy.stack.questions import OVERLOADED
from edge.proxy.stack.sources import REFUSED, Slowed, Sources
from edge.sip.digest import ALGORITHMS, NONCE_LIFE, SpentNonces, challenge, make_nonce, nonce_age
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import parse_digest
from edge.sip.ids import Ids
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header
from edge.sip.uri import Uri
from lambdas.contract import HASHES, Accept, Challenge, Credentials, Decision, Proceed, Reject, Route

_RESPONSE = {name: 2 * hasher(b"").digest_size for name, hasher in HASHES.items()}  # hexadecimal digits


@dataclass(frozen=True, slots=True)
class Presented:
    """Credentials with a nonce that was ours, young and unspent. ``grant`` is the account's if they are known to be
    right by it; None: only the control plane can tell, and their source has been charged for the question.
    ``nonce_made`` is when the nonce was, Unix time by the clock of the edge that made it."""

    credentials: Credentials
    account: str
    grant: HeldGrant | None
    nonce_made: float


class Authenticator:
    """Knows which nonce counts were used up at this edge."""

    def __init__(
        self,
        ids: Ids,
        algorithms: Sequence[str],
        bindings: HeldBindings,
        grants: Grants,
        sources: Sources,
        counters: Counter[str],
        own: OwnPlaces,
    ) -> None:
        """``algorithms``: which to ask for, one challenge each, in this order, where nobody knows better."""
        self._ids = ids
        self._algorithms = algorithms
        self._acceptable = frozenset(permitted(ALGORITHMS, algorithms))
        self._asked = Algorithms(algorithms)
        self._bindings = bindings
        self._grants = grants
        self._sources = sources
        self._counters = counters
        self._own = own
        self._spent = SpentNonces()

    def credentials(self, incoming: Incoming, realm: str, fleet: Fleet, now: float) -> Presented:
        """The credentials for ``realm`` in a request.

        Raises the Fault (401 or 407) that asks for better ones, 400 for ones that can't be read, 403 or 503 for an
        account that has failed too often from there; Slowed where they would have to be asked about, and too much of
        that was in vain.
        """
        key = "authorization" if incoming.request.method == "REGISTER" else "proxy-authorization"
        for value in incoming.request.values(key):
            try:
                params = parse_digest(value)
            except ParseError as error:
                raise Fault(400, f"Bad Request: {error}") from error
            if params is None or params.get("realm") != realm:
                continue
            credentials = self._read(params, realm)
            if not self._offered(credentials, f"{credentials.username}@{realm}"):
                self._counters["unusable_credentials"] += 1
                break
            return self._check(incoming, credentials, fleet, now)
        raise self.fault(incoming, realm, fleet, now)

    def _read(self, params: dict[str, str], realm: str) -> Credentials:
        try:
            username = params["username"]
            name, at, domain = username.rpartition("@")
            qualified = bool(name and at) and domain == realm
            return Credentials(
                username=name if qualified else username,
                qualified=qualified,
                realm=realm,
                nonce=params["nonce"],
                uri=params["uri"],
                response=params["response"].lower(),
                algorithm=params.get("algorithm", "MD5").upper(),
                qop=params.get("qop", ""),
                nc=params.get("nc", ""),
                cnonce=params.get("cnonce", ""),
            )
        except KeyError as error:
            raise Fault(400, f"Bad Request: credentials without {error.args[0]}") from error

    def _offered(self, credentials: Credentials, account: str) -> bool:
        """Whether they could answer a challenge of ours at all (RFC 7616 §3.4). Without qop they are RFC 2069's."""
        algorithm, grant = credentials.algorithm, self._grants.known(account)
        return (
            algorithm in self._acceptable
            and credentials.qop in ("auth", "")
            and len(credentials.response) == _RESPONSE[algorithm]
            and (grant is None or grant.takes(algorithm))
        )

    def _check(self, incoming: Incoming, credentials: Credentials, fleet: Fleet, now: float) -> Presented:
        if credentials.uri != incoming.request.uri and not self._fits(credentials.uri, incoming, fleet):
            raise Fault(400, "Bad Request: the credentials are for another URI")  # RFC 7616 §3.4.6
        realm, host = credentials.realm, incoming.flow.host
        age = nonce_age(credentials.nonce, fleet.nonce_keys, host, now + fleet.clock)
        if age is None:
            raise self.fault(incoming, realm, fleet, now)
        count = _nonce_count(credentials)
        if age > NONCE_LIFE:
            raise self.fault(incoming, realm, fleet, now, stale=True)
        account = f"{credentials.username}@{realm}"
        status = self._sources.refused(host, account, now)
        if status and not self._bindings.on_flow(incoming.source, account):  # a phone of its own isn't its neighbour
            self._counters["refused_logins"] += 1
            raise Fault(status, headers=(retry_after(round(REFUSED)),))
        grant = self._grants.get(account, credentials, incoming.request.method, now)
        if self._spent.is_spent(credentials.nonce, count):
            raise self.fault(incoming, realm, fleet, now, stale=True)  # nobody is asked, and it costs nobody
        if grant is None and not self._sources.take_question(host, incoming.flow.reliable, now):
            raise Slowed
        if not self._spent.spend(credentials.nonce, count, age, now):
            raise self.fault(incoming, realm, fleet, now, stale=True)
        if grant is not None:
            self._sources.succeeded(host, account, now)
        return Presented(credentials, account, grant, now + fleet.clock - age)

    def _fits(self, text: str, incoming: Incoming, fleet: Fleet) -> bool:
        """RFC 7616 §3.4.6 wants the Request-URI, but phones leave out the user or write the edge's address or name
        (SIPp does both). A user, where there is one, must be the one called, and the host ours."""
        try:
            other, uri = Uri.parse(text), incoming.uri
        except ParseError:
            return False
        ours = fleet.canonical(other.host) is not None or self._own.has(other, incoming.flow, fleet)
        return other.user in ("", uri.user) and (other.host == uri.host or ours)

    def settle(self, presented: Presented, flow: Flow, decision: Decision | None, now: float) -> bool:
        """What has come of a question about ``presented``, which came on ``flow``: right credentials have cost nothing.
        Whether they were wrong, and only this edge knows."""
        if presented.grant is not None:
            return False
        host, account = flow.host, presented.account
        sources = self._sources
        known = isinstance(decision, Accept | Route | Proceed) or (isinstance(decision, Reject) and decision.tenant)
        if known or (isinstance(decision, Challenge) and decision.algorithms):
            sources.succeeded(host, account, now)
            sources.give_back(host)
        elif decision == OVERLOADED:
            sources.give_back(host)
        elif decision is None:
            wrong = self._grants.known(account) is not None
            if wrong:
                sources.failed(host, account, 503, now)
            return wrong
        elif isinstance(decision, Reject) and decision.status == 403:
            sources.failed(host, account, 403, now)
        return False

    def fault(
        self,
        incoming: Incoming,
        realm: str,
        fleet: Fleet,
        now: float,
        stale: bool = False,
        algorithms: Sequence[str] = (),
    ) -> Fault:
        """401 for a REGISTER, which is for us; 407 for what we forward. ``algorithms`` as the control plane wants
        them."""
        if algorithms:
            algorithms = permitted(algorithms, self._algorithms)
        else:
            setting = self._setting(incoming, realm)
            algorithms = self._asked.asked_for(setting, incoming.first.get("user-agent", ""))
        nonce = make_nonce(
            fleet.nonce_key,
            fleet.nonce_keys[fleet.nonce_key],
            incoming.flow.host,
            now + fleet.clock,
            self._ids.salt(),
        )
        if incoming.request.method == "REGISTER":
            status, name = 401, "WWW-Authenticate"
        else:
            status, name = 407, "Proxy-Authenticate"
        headers: list[Header] = [
            (name.lower(), f"{name}: {value}") for value in challenge(realm, nonce, stale, algorithms)
        ]
        return Fault(status, "", tuple(headers))

    def _setting(self, incoming: Incoming, realm: str) -> str:
        """Of the account that a request says it is from, or whose phone has sent it, as far as it is known here."""
        sender = incoming.to_uri() if incoming.request.method == "REGISTER" else incoming.from_uri()
        grant = self._grants.known(f"{sender.user}@{realm}")
        if grant is None:
            binding = self._bindings.first_on(incoming.flow)
            held = self._bindings.get(binding) if binding else None
            grant = self._grants.known(held.aor) if held is not None and held.aor.endswith(f"@{realm}") else None
        return grant.digest if grant is not None else ""


def _nonce_count(credentials: Credentials) -> int:
    """nc, eight hexadecimal digits (RFC 7616 §3.4); 0 without qop."""
    if not credentials.qop:
        return 0
    try:
        if len(credentials.nc) != 8:
            raise ValueError
        return int(credentials.nc, 16)
    except ValueError as error:
        raise Fault(400, "Bad Request: nc must be eight hexadecimal digits") from error
