"""Google's service: FCM's HTTP v1 interface, by an access token that a service account gets for its own JWT.

What a Contact says of its phone is a project and a registration token (RFC 8599 §11).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt

from lambdas.push.outcome import SENT, Fate, Outcome, busy
from lambdas.push.payload import lifetime, told
from lambdas.repositories.push_services import PushCredentials
from lambdas.repositories.pushes import PushOrder

_URL = "https://fcm.googleapis.com"
_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - whatever the account says: it is somebody else's text
_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_HOUR, _MARGIN = 3600, 120.0


class Fcm:
    """``client`` keeps its connections. ``FCM_URL`` and ``FCM_TOKEN_URL`` are other servers, for tests."""

    def __init__(self, client: httpx.Client, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._url = os.environ.get("FCM_URL", _URL)
        self._token_url = os.environ.get("FCM_TOKEN_URL", _TOKEN_URL)
        self._tokens: dict[str, tuple[float, str]] = {}  # by the version of the credentials: until when, and which
        self._lock = threading.Lock()

    def send(self, order: PushOrder, credentials: PushCredentials) -> Outcome:
        """Raises httpx.HTTPError, and jwt.PyJWTError or ValueError for an account that can't sign."""
        token = self._token(credentials, fresh=False)
        if isinstance(token, Outcome):
            return token
        reply = self._post(order, credentials, token)
        if reply.status_code == 401:
            token = self._token(credentials, fresh=True)
            if isinstance(token, Outcome):
                return token
            reply = self._post(order, credentials, token)
        if reply.status_code == 200:
            return SENT
        code, text = _error(reply)
        unknown = code == "INVALID_ARGUMENT" and "registration token" in text
        if reply.status_code == 404 or code in ("UNREGISTERED", "SENDER_ID_MISMATCH") or unknown:
            return Outcome(Fate.GONE, code or str(reply.status_code))
        if reply.status_code == 429 or reply.status_code >= 500:
            return busy(reply.status_code, reply.headers.get("retry-after"), code)
        return Outcome(Fate.REFUSED, f"{reply.status_code} {code}".strip())

    def _post(self, order: PushOrder, credentials: PushCredentials, token: str) -> httpx.Response:
        message = {
            "token": order.prid,
            "data": told(order),
            "android": {"priority": "HIGH", "ttl": f"{lifetime(order)}s"},
        }
        return self._client.post(
            f"{self._url}/v1/projects/{credentials.scope}/messages:send",
            headers={"authorization": f"Bearer {token}"},
            json={"message": message},
        )

    def _token(self, credentials: PushCredentials, fresh: bool) -> str | Outcome:
        """One for an hour, or why there is none."""
        with self._lock:
            until, token = self._tokens.get(credentials.version, (0.0, ""))
            if not fresh and self._clock() < until:
                return token
            account, now = json.loads(credentials.secret), int(self._clock())
            claims = {
                "iss": account["client_email"],
                "scope": _SCOPE,
                "aud": self._token_url,
                "iat": now,
                "exp": now + _HOUR,
            }
            named = {"kid": account["private_key_id"]} if account.get("private_key_id") else None
            signed = jwt.encode(claims, account["private_key"], algorithm="RS256", headers=named)
            reply = self._client.post(self._token_url, data={"grant_type": _GRANT, "assertion": signed})
            if reply.status_code == 429 or reply.status_code >= 500:
                return busy(reply.status_code, reply.headers.get("retry-after"))
            if reply.status_code != 200:
                return Outcome(Fate.REFUSED, f"the service account gets no token: {reply.status_code}")
            given = reply.json()
            if len(self._tokens) > 1000:
                self._tokens.clear()
            made = str(given["access_token"])
            self._tokens[credentials.version] = (now + float(given.get("expires_in", _HOUR)) - _MARGIN, made)
            return made


def _error(reply: httpx.Response) -> tuple[str, str]:
    """FCM's own code, or else that of Google's interfaces; and the text."""
    try:
        error: Any = reply.json()["error"]
        details = [one for one in error.get("details", []) if "errorCode" in one]
        return str(details[0]["errorCode"] if details else error.get("status", "")), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
