"""Push notification services that a tenant has credentials for, and whom they wake."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

from lambdas.contract import Decision, Proceed, Push, PushQuestion, Reject
from lambdas.decisions.values import StoredBinding, present, woken_alike

ServiceName = Literal["apns", "fcm", "webpush"]
SERVICES: tuple[ServiceName, ...] = get_args(ServiceName)
DEVELOPMENT = "apns.dev"
"""What programs under development write for Apple's service, which has another server for them."""

PAUSE = 5.0
"""Seconds in which a phone gets one push, however many calls there are: the first one wakes it for all."""

NOBODY = Reject(status=480, reason="Temporarily Unavailable: the phone can't be woken")


@dataclass(frozen=True, slots=True)
class PushService:
    """What REGISTERs are compared with. ``scope`` is whose phones they are: a team with Apple, a project with Google,
    "" where that is all the same; ``vapid`` as in a Push; ``shows``: a push may say who calls."""

    provider: ServiceName
    scope: str = ""
    vapid: str = ""
    shows: bool = False

    def serves(self, push: Push) -> bool:
        """Whether it wakes phones that say this, and they have said all that it needs."""
        if push.provider not in _NAMES[self.provider]:
            return False
        match self.provider:
            case "apns":
                team, _, topic = push.param.partition(".")
                return team == self.scope and bool(topic)
            case "fcm":  # phones may give the project's number instead, which its credentials don't say
                return push.param in ("", self.scope) or push.param.isdecimal()
        return push.prid.startswith("https://")


_NAMES: dict[ServiceName, tuple[str, ...]] = {"apns": ("apns", DEVELOPMENT), "fcm": ("fcm",), "webpush": ("webpush",)}


def service_of(provider: str) -> ServiceName | None:
    """Which one a phone's ``pn-provider`` means."""
    return next((name for name, names in _NAMES.items() if provider in names), None)


def awaited(question: PushQuestion, bindings: tuple[StoredBinding, ...], now: float) -> StoredBinding | None:
    """The binding that it is about, if it is there and can be woken."""
    found = (item for item in present(bindings, now) if item.id == question.binding)
    item = next(found, None)
    return item if item is not None and item.push is not None else None


def gone(pushed: Push, binding: str, bindings: tuple[StoredBinding, ...], now: float) -> list[StoredBinding]:
    """The items of ``binding`` that nobody is reached by any more, since the service doesn't know the phone: unless
    that has told another name for itself since."""
    return [
        item
        for item in bindings
        if item.id == binding and item.live(now) and item.push is not None and woken_alike(item.push, pushed)
    ]


def phone_name(tenant: str, push: Push) -> str:
    """Names the phone that a push goes to, of all its accounts: without saying what the service knows it by."""
    text = "\0".join((tenant, push.provider, push.prid, push.param))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24]


def answered(sent: bool) -> Decision:
    """To the edge."""
    return Proceed() if sent else NOBODY
