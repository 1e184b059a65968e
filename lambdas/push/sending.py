"""Sending what is in the queue: by the service that the phone names, with its tenant's credentials, and once more where
that has too much to do. What a service doesn't know any more is nobody's binding."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx
import jwt

from lambdas.decisions.push import gone, service_of
from lambdas.decisions.values import remove
from lambdas.lookups.errors import OutsideError
from lambdas.lookups.outside import Outside
from lambdas.push.apns import Apns
from lambdas.push.fcm import Fcm
from lambdas.push.outcome import Fate, Outcome
from lambdas.push.payload import lifetime
from lambdas.push.webpush import WebPush
from lambdas.repositories.events import StoredEvent
from lambdas.repositories.push_services import PushCredentials
from lambdas.repositories.pushes import AT_ONCE, PushOrder, read
from lambdas.repositories.tables import Tables
from lambdas.repositories.vault import Unsealed

log = logging.getLogger(__name__)

TIMEOUT = 3.0
"""Seconds for a service to answer: a call waits."""
_LONGEST_PAUSE = 3.0  # seconds before the one more attempt
_IDLE = 300.0  # seconds that a connection stays: a function's may have been lost while it was frozen
_RACES = 3
_KNOWN = 60.0  # seconds that credentials are kept: opening them is a question to KMS


class Sending:
    """Takes orders from the queue, however they come. Its connections stay for the next ones."""

    def __init__(
        self,
        tables: Tables,
        client: httpx.Client | None = None,
        outside: Outside | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``client`` and ``outside`` are others for tests."""
        self._tables = tables
        self._sleep = sleep
        client = client or httpx.Client(
            http2=True, timeout=TIMEOUT, follow_redirects=False, limits=httpx.Limits(keepalive_expiry=_IDLE)
        )
        self._apns, self._fcm = Apns(client), Fcm(client)
        self._webpush = WebPush(outside or Outside(TIMEOUT))
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._known: dict[str, tuple[float, PushCredentials | None]] = {}
        tables.push_services.prepare()

    def take_all(self, bodies: Iterable[str]) -> None:
        """At the same time: nobody waits for another one's service. An order that fails isn't worth coming again: the
        call has waited by then."""
        list(self._pool.map(self._take, bodies))

    def _take(self, body: str) -> None:
        try:
            self.take(read(body))
        except Exception:
            log.exception("a push can't be sent")

    def take(self, order: PushOrder) -> None:
        """Send it, and see to what came of it."""
        if time.time() - order.at > lifetime(order):
            log.warning("a push to a phone of %s has come too late to be sent", order.aor)
            return
        outcome = self._attempt(order)
        if outcome.fate is Fate.AGAIN:
            self._sleep(min(outcome.wait, _LONGEST_PAUSE))
            outcome = self._attempt(order)
        match outcome.fate:
            case Fate.SENT:
                pass
            case Fate.GONE:
                self._forget(order, outcome.text)
            case _:
                text = f"{order.provider} has not taken a push to a phone of {order.aor}: {outcome.text}"
                self._tables.events.add(order.tenant, StoredEvent("push", time.time(), text, order.aor, order.call_id))

    def _attempt(self, order: PushOrder) -> Outcome:
        try:
            credentials = self._credentials(order)
            if credentials is None:
                return Outcome(Fate.REFUSED, "there are no credentials for it any more")
            match credentials.provider:
                case "apns":
                    return self._apns.send(order, credentials)
                case "fcm":
                    return self._fcm.send(order, credentials)
                case "webpush":
                    return self._webpush.send(order, credentials)
        except (httpx.HTTPError, OutsideError) as error:
            never = isinstance(error, OutsideError) and error.forbidden
            return Outcome(Fate.REFUSED if never else Fate.AGAIN, _said(error))
        except (jwt.PyJWTError, ValueError, KeyError, Unsealed) as error:
            return Outcome(Fate.REFUSED, f"the credentials can't be used: {type(error).__name__}")

    def _credentials(self, order: PushOrder) -> PushCredentials | None:
        """Raises Unsealed."""
        service = service_of(order.provider)
        if service is None:
            return None
        name, now = f"{order.tenant}/{service}", time.monotonic()
        since, known = self._known.get(name, (float("-inf"), None))
        if known is None or now - since > _KNOWN:
            known = self._tables.push_services.credentials(order.tenant, service)
            if len(self._known) > 1000:
                self._known.clear()
            self._known[name] = (now, known)
        return known

    def _forget(self, order: PushOrder, why: str) -> None:
        """The binding goes, and its edge hears of it by its next heartbeat."""
        for _ in range(_RACES):
            now = time.time()
            items = gone(order.push, order.binding, self._tables.bindings.of(order.aor), now)
            revision = f"push-{secrets.token_hex(6)}"
            if self._tables.bindings.write([remove(item, revision, now) for item in items]):
                break
        text = f"{order.provider} doesn't know a phone of {order.aor} any more ({why}): it is registered no longer"
        self._tables.events.add(order.tenant, StoredEvent("push", time.time(), text, order.aor, order.call_id))


def _said(error: Exception) -> str:
    """Without the URL, which names the phone."""
    return str(error) if isinstance(error, OutsideError) else f"no answer: {type(error).__name__}"


def work(tables: Tables) -> None:
    """Send for ever, where no Lambda does."""
    sending = Sending(tables)
    while True:
        try:
            batch = tables.pushes.receive(5)
            sending.take_all(body for body, _ in batch)
            tables.pushes.done([receipt for _, receipt in batch])
        except Exception:
            log.exception("the queue of pushes can't be worked on")
            time.sleep(5)
