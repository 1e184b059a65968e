"""Telling webhooks what has happened: by whom it is wanted is known with the tenant, so that others cost nothing."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from lambdas.contract import CallAnswered, CallEnded, CallFailed, CallQuestion, IncomingQuestion
from lambdas.decisions.values import Put, StoredBinding, present, written
from lambdas.repositories.directory import Directory
from lambdas.repositories.hooks import AT_ONCE, Hooks, Notice

log = logging.getLogger(__name__)

_KNOWN, _MOST_KNOWN = 5.0, 10_000  # seconds and tenants for which it is remembered who wants to hear of what

NoticeKind = Literal[
    "call.started", "call.answered", "call.failed", "call.ended", "registration.changed", "suspension.changed"
]

Data = dict[str, Any]


class Notices:
    """Notices that come twice have the same id."""

    def __init__(self, directory: Directory, hooks: Hooks) -> None:
        self._directory = directory
        self._hooks = hooks
        self._known: dict[str, tuple[float, Mapping[str, list[str]]]] = {}

    def tell(self, tenant: str, kind: NoticeKind, of: str, at: float, data: Callable[[], Data]) -> None:
        """``of`` tells this happening from others of its kind; ``data`` is asked only where somebody wants to hear of
        it. Raises NotTold."""
        wanting = self._wanting(tenant).get(kind, ()) if self._hooks.available and tenant else ()
        if not wanting:
            return
        notices, told = [], data()
        for hook in wanting:
            name = hashlib.sha256("\0".join((tenant, hook, kind, of)).encode("utf-8", "replace")).hexdigest()[:24]
            notices.append(Notice(tenant, hook, kind, f"msg_{name}", int(at), told))
        self._hooks.tell(notices)

    def wanted(self, tenant: str, kind: NoticeKind) -> bool:
        """Whether anybody wants to hear of such."""
        return self._hooks.available and bool(tenant and self._wanting(tenant).get(kind))

    def _wanting(self, tenant: str) -> Mapping[str, list[str]]:
        """Which hooks want to hear of what, as of a few seconds ago."""
        now = time.monotonic()
        until, hooked = self._known.get(tenant, (0.0, {}))
        if now >= until:
            hooked = self._directory.settings(tenant).hooked
            self._known.pop(tenant, None)
            self._known[tenant] = (now + _KNOWN, hooked)
            if len(self._known) > _MOST_KNOWN:
                del self._known[next(iter(self._known))]
        return hooked

    def ping(self, tenant: str, hook: str, now: float) -> None:
        """To one hook, whatever it wants to hear. Raises NotTold."""
        self._hooks.tell([Notice(tenant, hook, "ping", f"msg_{secrets.token_hex(12)}", int(now), {})])

    def started(self, question: CallQuestion, tenant: str, now: float) -> None:
        """A call is about to ring somebody. It does, whatever comes of this."""
        called = question.dialled if isinstance(question, IncomingQuestion) else question.called
        data = {"call_id": question.call_id, "caller": question.caller, "called": called}
        try:
            self.tell(tenant, "call.started", question.attempt or question.call_id, now, lambda: data)
        except Exception:
            log.exception("a webhook of %s can't be told", tenant)

    def call(self, report: CallAnswered | CallFailed | CallEnded, data: Callable[[], Data]) -> None:
        """What was reported of a call; ``data`` is its record. Raises NotTold."""
        kind: NoticeKind
        match report:
            case CallAnswered():
                kind, at = "call.answered", report.answered
            case CallFailed():
                kind, at = "call.failed", report.ended
            case CallEnded():
                kind, at = "call.ended", report.ended
        self.tell(report.tenant, kind, report.call, at, data)

    def moved(self, aor: str, tenant: str, bindings: Sequence[StoredBinding], puts: Sequence[Put], now: float) -> None:
        """Perhaps an account has other phones now. They are what they are, whatever comes of this."""
        before, after = present(bindings, now), present(written(bindings, puts), now)
        if {(item.id, item.contact) for item in before} == {(item.id, item.contact) for item in after}:
            return
        data = {"aor": aor, "registered": bool(after), "contacts": [item.contact for item in after]}
        try:
            self.tell(tenant, "registration.changed", f"{aor} {puts[0].binding.revision}", now, lambda: data)
        except Exception:
            log.exception("a webhook of %s can't be told", tenant)

    def suspended(self, tenant: str, account: str, reason: str, owners: Iterable[str], now: float) -> None:
        """An account, or the whole tenant (""), is suspended, or isn't any more (``reason`` ""). It is so, whatever
        comes of this. ``owners`` are the addresses of those who get a mail that they are out."""
        data = {"account": account or None, "suspended": reason}
        try:
            self.tell(tenant, "suspension.changed", f"{account} {now}", now, lambda: data)
            mails = [
                Notice(tenant, "", "suspension.changed", f"msg_{secrets.token_hex(12)}", int(now), data, to)
                for to in (owners if reason and self._hooks.available else ())
            ]
            for begin in range(0, len(mails), AT_ONCE):
                self._hooks.tell(mails[begin : begin + AT_ONCE])
        except Exception:
            log.exception("nobody at %s can be told of a suspension", tenant)
