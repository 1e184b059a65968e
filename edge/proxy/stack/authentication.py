"""Asking for credentials, unasked by the control plane (RFC 3261 §22), and reading the ones that come."""

from __future__ import annotations

from collections.abc import Sequence

from edge.proxy.stack.fleet import Fleet
from edge.sip.digest import NONCE_LIFE, SpentNonces, challenge, make_nonce, nonce_age
from edge.sip.errors import ParseError
from edge.sip.headers import parse_digest
from edge.sip.ids import Ids
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header
from edge.sip.uri import Uri
from lambdas.contract import Credentials


class Authenticator:
    """Knows which nonce counts were used up at this edge."""

    def __init__(self, ids: Ids, algorithms: Sequence[str]) -> None:
        """``algorithms``: which to ask for, one challenge each, in this order."""
        self._ids = ids
        self._algorithms = algorithms
        self._spent = SpentNonces()

    def credentials(self, incoming: Incoming, realm: str, fleet: Fleet, now: float) -> Credentials:
        """The credentials for ``realm`` in a request, with a nonce that is ours, young and unspent.

        Raises the Fault (401 or 407) that asks for better ones, or 400 for ones that can't be read.
        """
        key = "authorization" if incoming.request.method == "REGISTER" else "proxy-authorization"
        for value in incoming.request.values(key):
            try:
                params = parse_digest(value)
            except ParseError as error:
                raise Fault(400, f"Bad Request: {error}") from error
            if params is None or params.get("realm") != realm:
                continue
            return self._check(incoming, params, realm, fleet, now)
        raise self.fault(incoming, realm, fleet, now)

    def _check(self, incoming: Incoming, params: dict[str, str], realm: str, fleet: Fleet, now: float) -> Credentials:
        try:
            credentials = Credentials(
                username=params["username"],
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
        if credentials.uri != incoming.request.uri and not _equivalent(credentials.uri, incoming.uri, fleet):
            raise Fault(400, "Bad Request: the credentials are for another URI")  # RFC 7616 §3.4.6
        age = nonce_age(credentials.nonce, fleet.nonce_keys, incoming.flow.host, now + fleet.clock)
        if age is None:
            raise self.fault(incoming, realm, fleet, now)
        count = _nonce_count(credentials)
        if age > NONCE_LIFE or not self._spent.spend(credentials.nonce, count, now):
            raise self.fault(incoming, realm, fleet, now, stale=True)
        return credentials

    def fault(self, incoming: Incoming, realm: str, fleet: Fleet, now: float, stale: bool = False) -> Fault:
        """401 for a REGISTER, which is for us; 407 for what we forward."""
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
            (name.lower(), f"{name}: {value}") for value in challenge(realm, nonce, stale, self._algorithms)
        ]
        return Fault(status, "", tuple(headers))


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


def _equivalent(text: str, uri: Uri, fleet: Fleet) -> bool:
    """RFC 7616 §3.4.6 wants the Request-URI, but phones leave out the user or write the edge's address (SIPp does
    both). A user, where there is one, must be the one called, and the host ours."""
    try:
        other = Uri.parse(text)
    except ParseError:
        return False
    return other.user in ("", uri.user) and (other.host == uri.host or fleet.canonical(other.host) is not None)
