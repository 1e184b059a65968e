"""Answering Digest challenges as a client (RFC 3261 §22.2 and §22.3, RFC 7616, RFC 8760)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from edge.providers.host import Realm
from edge.sip.errors import ParseError
from edge.sip.headers import parse_digest, parse_params, split_list, value_of
from edge.sip.message import Header, Response
from lambdas.contract import HASHES, Secret

_STRONGEST = ("SHA-256", "MD5")
_MOST_REALMS = 8  # of one provider: it names them as it likes
_QOPS = ("auth", "auth-int")
_ANSWERS = {"www-authenticate": "Authorization", "proxy-authenticate": "Proxy-Authorization"}
_INFOS = {"authentication-info": "Authorization", "proxy-authentication-info": "Proxy-Authorization"}


class Hashes:
    """What answers for a user name: HA1 (RFC 7616 §3.4.2) of each realm that has asked. ``known`` are those, in
    lower-case hexadecimal; where the password isn't there any more ("") they are all that can be answered."""

    def __init__(
        self,
        secret: Secret,
        learnt: Callable[[], None] = lambda: None,
        known: Mapping[Realm, str] = MappingProxyType({}),
    ) -> None:
        """``learnt`` is called when there is another one."""
        self.secret = secret
        self.learnt = learnt
        self.known: dict[Realm, str] = dict(known)

    def answers(self, realm: str, algorithm: str) -> bool:
        """Whether a challenge of ``realm`` can be answered."""
        wanted = not self.secret.realm or self.secret.realm == realm
        return wanted and (bool(self.secret.password) or (realm, algorithm) in self.known)

    def of(self, realm: str, algorithm: str) -> str:
        """For a challenge that can be answered."""
        place = realm, algorithm
        if place not in self.known:
            if len(self.known) >= _MOST_REALMS:
                self.known.clear()
            text = f"{self.secret.username}:{realm}:{self.secret.password}"
            self.known[place] = HASHES[algorithm](text.encode("utf-8", "surrogateescape")).hexdigest()
            self.learnt()
        return self.known[place]


class Authorizer:
    """The challenges of one provider, and their answers. A nonce is used again, with a higher count, until another one
    comes. ``fault`` says what was wrong with the last challenges that couldn't be answered."""

    def __init__(self, hashes: Hashes) -> None:
        self.fault = ""
        self._hashes = hashes
        self._challenges: dict[tuple[str, str], dict[str, str]] = {}
        self._counts: dict[str, int] = {}
        self._tried: set[tuple[str, str]] = set()
        self._used: set[str] = set()

    def begin(self) -> None:
        """A new request: each challenge may be answered once more."""
        self._tried.clear()
        self._used.clear()

    def forget(self) -> None:
        """Another server: its challenges are its own."""
        self._challenges.clear()
        self.begin()

    def challenged(self, response: Response) -> bool:
        """Take the challenges of a 401 or 407; whether there is a new one that can be answered."""
        offered: dict[tuple[str, str], dict[str, str]] = {}
        self.fault = "the provider asks for no password that we know of"
        for name, params in _challenges_in(response):
            if params is None:
                self.fault = "the provider asks for the password in a way that isn't known here"
                continue
            if not self._hashes.answers(params["realm"], params["algorithm"]):
                continue
            known = offered.get((name, params["realm"]))
            if known is None or _rank(params) < _rank(known):
                offered[name, params["realm"]] = params
        fresh = {
            place
            for place, params in offered.items()
            if _stale(params) or (place not in self._tried and params["nonce"] not in self._used)
        }
        if offered:
            self.fault = "the provider refuses the user name or password"
        self._tried |= offered.keys()
        self._challenges.update(offered)
        return bool(fresh) and len(fresh) == len(offered)

    def accepted(self, response: Response) -> None:
        """Take the nonces that a 2xx names for the next request (RFC 7616 §3.5)."""
        for key, line in response.headers:
            answer = _INFOS.get(key)
            if answer is None:
                continue
            try:
                following = parse_params(value_of(line), ",").get("nextnonce")
            except ParseError:
                continue
            # It doesn't name the realm: it is for the one that has asked, if it is only one.
            asked = [place for place in self._challenges if place[0] == answer]
            if following and len(asked) == 1:
                self._challenges[asked[0]] = {**self._challenges[asked[0]], "nonce": following}

    def headers(self, method: str, uri: str, cnonce: str, body: bytes = b"") -> list[Header]:
        """The answers to all challenges so far, for a request with ``body``."""
        made = []
        for (name, realm), params in self._challenges.items():
            made.append((name.lower(), f"{name}: {self._answer(realm, params, method, uri, cnonce, body)}"))
        return made

    def _answer(self, realm: str, params: dict[str, str], method: str, uri: str, cnonce: str, body: bytes) -> str:
        algorithm = params["algorithm"]
        nonce = params["nonce"]
        self._used.add(nonce)

        qop = params["qop"]

        def digest(text: str) -> str:
            return HASHES[algorithm](text.encode("utf-8", "surrogateescape")).hexdigest()

        ha1 = self._hashes.of(realm, algorithm)
        ha2 = digest(f"{method}:{uri}" + (f":{HASHES[algorithm](body).hexdigest()}" if qop == "auth-int" else ""))
        parts = [
            f'Digest username="{_quoted(self._hashes.secret.username)}"',
            f'realm="{_quoted(realm)}"',
            f'nonce="{_quoted(nonce)}"',
            f'uri="{uri}"',
            f"algorithm={algorithm}",
        ]
        if qop:
            count = self._counts[nonce] = self._counts.get(nonce, 0) + 1
            if len(self._counts) > len(self._challenges):
                self._counts = {nonce: count}
            parts += [
                f'response="{digest(f"{ha1}:{nonce}:{count:08x}:{cnonce}:{qop}:{ha2}")}"',
                f'cnonce="{cnonce}"',
                f"nc={count:08x}",
                f"qop={qop}",
            ]
        else:
            parts.append(f'response="{digest(f"{ha1}:{nonce}:{ha2}")}"')
        if "opaque" in params:
            parts.append(f'opaque="{_quoted(params["opaque"])}"')
        return ", ".join(parts)


def _challenges_in(response: Response) -> Iterator[tuple[str, dict[str, str] | None]]:
    """The header field that answers each, and its parameters, algorithm and qop settled; None where it can't be
    answered. A header field may have several (RFC 9110 §11.6.1)."""
    for key, line in response.headers:
        name = _ANSWERS.get(key)
        if name is not None:
            for challenge in _split(value_of(line)):
                yield name, _read(challenge)


def _split(value: str) -> list[str]:
    """A list of challenges, whose parameters are lists themselves: a new one begins with a scheme, a word by itself."""
    try:
        parts = split_list(value)
    except ParseError:
        return [value]
    found: list[str] = []
    for part in parts:
        if found and " " not in part.partition("=")[0].strip():
            found[-1] += f", {part}"
        else:
            found.append(part)
    return found


def _read(challenge: str) -> dict[str, str] | None:
    try:
        params = parse_digest(challenge)
    except ParseError:
        return None
    if params is None or "realm" not in params or "nonce" not in params:
        return None
    params["algorithm"] = params.get("algorithm", "MD5").upper()
    offered = [value.strip().lower() for value in params.get("qop", "").split(",") if value.strip()]
    qop = next((known for known in _QOPS if known in offered), "")
    if params["algorithm"] not in _STRONGEST or (offered and not qop):
        return None
    params["qop"] = qop
    return params


def _rank(params: dict[str, str]) -> int:
    return _STRONGEST.index(params["algorithm"])


def _stale(params: dict[str, str]) -> bool:
    return params.get("stale", "").lower() == "true"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
