"""Delivering notices to webhooks, signed as Standard Webhooks has it, again and again until somebody takes them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from lambdas.lookups.errors import MailError, OutsideError
from lambdas.lookups.lookups import Lookups
from lambdas.lookups.outside import Outside
from lambdas.repositories.events import StoredEvent
from lambdas.repositories.hooks import AT_ONCE, Notice, StoredHook, read
from lambdas.repositories.tables import Tables

log = logging.getLogger(__name__)

PORTS = (443, 8443)
"""Of endpoints: nobody makes the service knock at others."""
TIMEOUT = 5.0
"""Seconds for an endpoint to answer."""
DELAYS = (10, 60, 300, 1800, 7200, 21_600, 42_600)
"""Seconds before each further attempt; some 20 hours in all."""

_SUSPENDED = """Since {since} {who} may neither register nor call, and its calls have been ended:

    {reason}

What led to it: scripts/sipwizard events --kind abuse (GET /v1/events).
{lifted}
"""
_LIFT_ACCOUNT = """To lift it: scripts/sipwizard account lift {account}
If somebody was guessing its password, choose another one first."""
_LIFT_TENANT = "To have it lifted ask whoever runs the service."
_ENDING = """These certificates end soon and haven't been renewed yet:

{lines}

It goes on being tried; nothing is told again of these. Phones that use TLS won't come back once one has ended.
See scripts/sipwizard certificates (GET /v1/certificates), and docs/operate.md for what to do.
"""


class Undeliverable(Exception):
    """This time; the text says why."""


class Delivery:
    """Takes messages from the queue, however they come."""

    def __init__(self, tables: Tables, lookups: Lookups) -> None:
        self._tables = tables
        self._lookups = lookups
        self._outside = Outside(TIMEOUT)
        self._pool = ThreadPoolExecutor(AT_ONCE)
        tables.hooks.prepare()

    def take_all(self, batch: Iterable[tuple[str, str, int]]) -> list[bool]:
        """``take`` each (body, receipt, received) of a batch, all at the same time: nobody waits for another one's
        endpoint."""
        return list(self._pool.map(lambda one: self._take(*one), batch))

    def _take(self, body: str, receipt: str, received: int) -> bool:
        try:
            return self.take(body, receipt, received)
        except Exception:
            log.exception("a webhook's message can't be worked on; it comes again")
            return False

    def take(self, body: str, receipt: str, received: int) -> bool:
        """Whether the message is done with, delivered or given up; otherwise it comes again later."""
        notice = read(body)
        try:
            self._deliver(notice)
        except Undeliverable as error:
            if received <= len(DELAYS):
                self._tables.hooks.later(receipt, DELAYS[received - 1])
                return False
            who = f"webhook {notice.hook}" if notice.hook else notice.to
            text = f"{who} has not taken {notice.kind} {notice.id}: {error}"
            self._tables.events.add(notice.tenant, StoredEvent("hook", time.time(), text, notice.hook))
        return True

    def _deliver(self, notice: Notice) -> None:
        if notice.to:
            self._write(notice)
            return
        hook = self._tables.hooks.get(f"{notice.tenant}/{notice.hook}")
        if hook is None:
            return  # it has been removed
        body = json.dumps({"type": notice.kind, "timestamp": _moment(notice.at), "data": notice.data}).encode()
        try:
            host = check(hook.url, self._outside)
            status, _ = self._outside.request(
                "POST",
                hook.url,
                host,
                self._outside.address(host),
                signed(hook, notice.id, int(time.time()), body),
                body,
            )
        except OutsideError as error:
            raise Undeliverable(str(error)) from error
        if not 200 <= status < 300:
            raise Undeliverable(f"it answers with status {status}")

    def _write(self, notice: Notice) -> None:
        """A mail, where the installation sends any."""
        mail = self._lookups.mail
        if not mail.available:
            return
        subject, text = _ending(notice) if notice.kind == "certificates.ending" else _suspended(notice)
        try:
            mail.send(notice.to, subject, text)
        except MailError as error:
            raise Undeliverable("the mail couldn't be sent") from error


def _suspended(notice: Notice) -> tuple[str, str]:
    """The mail's subject and text."""
    account, reason = notice.data["account"], notice.data["suspended"]
    who, lifted = account or f"tenant {notice.tenant}", _LIFT_TENANT
    if account:
        lifted = _LIFT_ACCOUNT.format(account=account)
    return f"{who} is suspended", _SUSPENDED.format(who=who, reason=reason, since=_moment(notice.at), lifted=lifted)


def _ending(notice: Notice) -> tuple[str, str]:
    """Likewise."""
    ending, unnamed = notice.data["certificates"], notice.data["more"]
    lines = "\n".join(f"    {one['name']} ends {_moment(one['not_after'])}: {one['why']}" for one in ending)
    lines += f"\n    and {unnamed} more" if unnamed else ""
    first, more = ending[0]["name"], len(ending) - 1 + unnamed
    return f"Certificate of {first}{f' and {more} more' if more else ''} ends soon", _ENDING.format(lines=lines)


def check(url: str, outside: Outside) -> str:
    """The host of a URL that may be delivered to. Raises OutsideError."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or 443
    except ValueError as error:
        raise OutsideError(f"{url!r} is not a URL", True) from error
    if parts.scheme not in ("https", "http") or not host or parts.username is not None:
        raise OutsideError(f"{url!r} is not like https://www.example.com/hook", True)
    wrong = ""
    if parts.scheme == "http":
        wrong = "only https:// will do: what is told is the tenant's secret"
    elif port not in PORTS:
        wrong = f"only the ports {' and '.join(map(str, PORTS))} will do: others are other services'"
    if wrong and not outside.inside(outside.address(host)):
        raise OutsideError(wrong, True)
    return host


def signed(hook: StoredHook, name: str, stamp: int, body: bytes) -> dict[str, str]:
    """The header fields. The secret is ``whsec_`` and base64."""
    key = base64.b64decode(hook.secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(stamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _moment(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def work(tables: Tables, lookups: Lookups) -> None:
    """Deliver for ever, where no Lambda does."""
    delivery = Delivery(tables, lookups)
    while True:
        try:
            batch = tables.hooks.receive(5)
            for (_, receipt, _), done in zip(batch, delivery.take_all(batch), strict=True):
                if done:
                    tables.hooks.done(receipt)
        except Exception:
            log.exception("the queue of webhooks can't be worked on")
            time.sleep(5)
