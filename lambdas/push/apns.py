"""Apple's service: HTTP/2, by a provider's token (a JWT that the team's key has signed).

What a Contact says of its phone is ``TEAM.topic`` and a device token (RFC 8599 §10). Programs that have a token for
each kind of push, as Linphone has, say ``TEAM.app.remote&voip`` and ``token:remote&token:voip``. A call goes by the
token for VoIP, since that wakes the program at once; but who gets such a push has to show a call, so anything else goes
by the other token.
"""

from __future__ import annotations

import os
import string
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import jwt

from lambdas.decisions.push import DEVELOPMENT
from lambdas.push.outcome import SENT, Fate, Outcome, busy
from lambdas.push.payload import lifetime, told
from lambdas.repositories.push_services import PushCredentials
from lambdas.repositories.pushes import PushOrder

_PRODUCTION, _SANDBOX = "https://api.push.apple.com", "https://api.sandbox.push.apple.com"
_LONGEST_USE = 3000.0  # seconds of a provider's token: Apple takes none after an hour, and no new ones within 20 min
_HEXADECIMAL = frozenset(string.hexdigits)
_TOPIC = frozenset(string.ascii_letters + string.digits + "-.")
_GONE = ("BadDeviceToken", "DeviceTokenNotForTopic", "ExpiredToken", "Unregistered")
_STALE = ("ExpiredProviderToken", "InvalidProviderToken")


class Device(NamedTuple):
    """Where a push goes."""

    token: str
    topic: str
    voip: bool


def device(order: PushOrder) -> Device | None:
    """By which of the phone's tokens; None if what it says isn't one."""
    app = order.param.partition(".")[2]
    head, _, kinds = app.rpartition(".")
    if not {"voip", "remote"}.issuperset(kinds.split("&")):
        head, kinds = app, "remote"
    tokens = dict(_named(part, kinds) for part in order.prid.split("&"))
    kind = next((one for one in _preferred(order.why) if one in tokens), "")
    token = tokens.get(kind, "")
    if not (head and _TOPIC.issuperset(head) and 8 <= len(token) <= 200 and _HEXADECIMAL.issuperset(token)):
        return None
    return Device(token, f"{head}.voip" if kind == "voip" else head, kind == "voip")


def _named(part: str, kinds: str) -> tuple[str, str]:
    token, colon, kind = part.partition(":")
    return (kind if colon else kinds.split("&")[0]), token


def _preferred(why: str) -> tuple[str, str]:
    return ("voip", "remote") if why == "call" else ("remote", "voip")


class Apns:
    """``client`` speaks HTTP/2, and keeps its connections. ``APNS_URL`` is another server, for tests."""

    def __init__(self, client: httpx.Client, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._url = os.environ.get("APNS_URL", "")
        self._tokens: dict[str, tuple[float, str]] = {}  # by the version of the credentials: since when, and which
        self._lock = threading.Lock()

    def send(self, order: PushOrder, credentials: PushCredentials) -> Outcome:
        """Raises httpx.HTTPError, and jwt.PyJWTError or ValueError for a key that can't sign."""
        to = device(order)
        if to is None:
            return Outcome(Fate.GONE, "its Contact names no device")
        reply = self._post(to, order, credentials, fresh=False)
        if reply.status_code == 403 and _reason(reply) in _STALE:
            reply = self._post(to, order, credentials, fresh=True)
        reason = _reason(reply)
        if reply.status_code == 200:
            return SENT
        if reply.status_code == 410 or reason in _GONE:
            return Outcome(Fate.GONE, reason)
        if reply.status_code == 429 or reply.status_code >= 500:
            return busy(reply.status_code, reply.headers.get("retry-after"), reason)
        return Outcome(Fate.REFUSED, f"{reply.status_code} {reason}")

    def _post(self, to: Device, order: PushOrder, credentials: PushCredentials, fresh: bool) -> httpx.Response:
        kind, priority, body = _written(to, order)
        server = self._url or (_SANDBOX if order.provider == DEVELOPMENT else _PRODUCTION)
        headers = {
            "authorization": f"bearer {self._token(credentials, fresh)}",
            "apns-topic": to.topic,
            "apns-push-type": kind,
            "apns-priority": str(priority),
            "apns-expiration": str(int(self._clock()) + lifetime(order)),
        }
        return self._client.post(f"{server}/3/device/{to.token}", headers=headers, json=body)

    def _token(self, credentials: PushCredentials, fresh: bool) -> str:
        with self._lock:
            now = self._clock()
            since, token = self._tokens.get(credentials.version, (0.0, ""))
            if fresh or now - since > _LONGEST_USE:
                claims = {"iss": credentials.scope, "iat": int(now)}
                token = jwt.encode(claims, credentials.secret, algorithm="ES256", headers={"kid": credentials.key})
                if len(self._tokens) > 1000:
                    self._tokens.clear()
                self._tokens[credentials.version] = (now, token)
            return token


def _written(to: Device, order: PushOrder) -> tuple[str, int, dict[str, Any]]:
    """Type, priority and body."""
    data = told(order)
    if to.voip:
        return "voip", 10, {"aps": {"call-id": data.get("call-id", "")}, **data}
    if order.why == "call":
        shown = {"alert": "Incoming call", "sound": "default", "content-available": 1, "mutable-content": 1}
        return "alert", 10, {"aps": {**shown, "call-id": data.get("call-id", "")}, **data}
    return "background", 5, {"aps": {"content-available": 1}, **data}


def _reason(reply: httpx.Response) -> str:
    try:
        found = reply.json()
    except ValueError:
        return ""
    return str(found.get("reason", ""))[:100] if isinstance(found, dict) else ""
