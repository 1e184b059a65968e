"""The facts that decisions are made from, and what they want written. Repositories turn items into these and back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from lambdas.contract import (
    Binding,
    BindingChange,
    BindingReport,
    ContactBinding,
    ContactField,
    Decision,
    Grant,
    Order,
    Push,
    RegisterQuestion,
    WireFlow,
    binding_id,
    without_push,
)
from lambdas.decisions.limits import NONE, CallLimits

DigestSetting = Literal["", "md5", "sha256", "both"]
MediaSetting = Literal["", "auto", "relay", "direct"]
"""An account's or a provider's; "": as its tenant says."""


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """``aor`` is ``username@domain`` with the canonical domain, which is the realm. The HA1 values are lower-case
    hexadecimal (RFC 7616 §3.4.2), the ``qualified`` ones for phones that give ``aor`` as their user name ("" for
    passwords that were set before there were any); the password itself is kept nowhere. ``version`` is the time of its
    last change in milliseconds, ``created`` that of its making in seconds. One that is ``suspended`` (why) isn't
    ``enabled`` either; ``digest`` is as in a Grant; ``site`` names the place of its phones ("": the tenant's)."""

    aor: str
    tenant: str
    ha1_md5: str = field(repr=False)
    ha1_sha256: str = field(repr=False)
    enabled: bool = True
    version: int = 0
    caller_id: str = ""
    plan: str = ""
    do_not_disturb: bool = False
    suspended: str = ""
    limits: CallLimits = NONE
    ha1_md5_qualified: str = field(default="", repr=False)
    ha1_sha256_qualified: str = field(default="", repr=False)
    created: int = 0
    digest: DigestSetting = ""
    media: MediaSetting = ""
    site: str = ""

    @property
    def grant(self) -> Grant:
        return Grant(
            tenant=self.tenant,
            version=self.version,
            ha1_md5=self.ha1_md5,
            ha1_sha256=self.ha1_sha256,
            ha1_md5_qualified=self.ha1_md5_qualified,
            ha1_sha256_qualified=self.ha1_sha256_qualified,
            digest=self.digest,
            media=self.media or "auto",
            site=self.site,
        )


class StoredBinding(ContactBinding):
    """One item of the bindings table: (aor, key, edge address).

    ``registered_at``, ``changed_at`` and ``doubted_at`` are milliseconds, ``expires_at`` seconds of the control plane's
    clock; ``revision`` is the question that wrote it last. A ``removed`` one stays for a while: it must win over an
    older REGISTER that is still under way elsewhere. At ``doubted_at`` another Contact was registered by what may be
    the same phone (0: none was).
    """

    key: str
    call_id: str
    cseq: int
    registered_at: int
    changed_at: int
    expires_at: float
    revision: str
    tenant: str
    user_agent: str = ""
    removed: bool = False
    doubted_at: int = 0

    @property
    def address(self) -> str:
        return self.flow[0]

    @property
    def id(self) -> str:
        return binding_id(self.aor, self.key)

    @property
    def order(self) -> Order:
        """Of the REGISTER that it is by, as of when it took effect, or was undone."""
        return Order(self.call_id, self.cseq, (self.changed_at if self.removed else self.registered_at) / 1000)

    def stands_for(self, one: ContactField | BindingReport, said: RegisterQuestion | BindingReport) -> bool:
        """Whether it is the binding of this Contact, of which ``said`` has the Call-ID, the flow and the Path. It may
        have another key: one that an edge of another version has made, or of the address that the phone had before. And
        what the same push wakes is the same phone, wherever it is."""
        if self.key == one.key:
            return True
        contact = one.contact if isinstance(one, BindingReport) else one.uri
        if (self.instance and self.reg_id) or (one.instance and one.reg_id):
            return False
        if self.push is not None and one.push is not None and woken_alike(self.push, one.push):
            return True
        if without_push(self.contact) != without_push(contact):
            return False
        return self.call_id == said.call_id or (self.flow[3], self.path) == (said.flow[3], said.path)

    def live(self, now: float) -> bool:
        return not self.removed and self.expires_at > now

    def as_binding(self, now: float) -> Binding:
        return Binding.of(self, id=self.id, expires=max(0, round(self.expires_at - now)))

    def as_change(self, now: float) -> BindingChange:
        """What the edge that holds its address is told."""
        expires = max(1, round(self.expires_at - now)) if self.live(now) else 0
        return BindingChange.of(self, id=self.id, expires=expires, doubted_at=self.doubted_at / 1000)


def woken_alike(one: Push, other: Push) -> bool:
    """Whether both name the same phone to the same service."""
    return bool(one.prid) and (one.provider, one.prid, one.param) == (other.provider, other.prid, other.param)


def _key(item: StoredBinding) -> str:
    return item.key


def newest(bindings: Iterable[StoredBinding], name: Callable[[StoredBinding], str] = _key) -> dict[str, StoredBinding]:
    """For each key, or what else is their ``name``, the item that counts. Several exist when a phone moved between
    edges, or raced itself there: of one Call-ID the highest CSeq wins (RFC 3261 §10.3 step 7), of different ones the
    latest."""
    by_call: dict[tuple[str, str], StoredBinding] = {}
    for item in bindings:
        call = name(item), item.call_id
        known = by_call.get(call)
        if known is None or _order(item) > _order(known):
            by_call[call] = item
    found: dict[str, StoredBinding] = {}
    for (key, _), item in by_call.items():
        known = found.get(key)
        if known is None or (item.registered_at, item.call_id) > (known.registered_at, known.call_id):
            found[key] = item
    return found


def _order(item: StoredBinding) -> tuple[int, bool, int]:
    """A superseded item keeps its CSeq; the one that superseded it has the same or a higher one, and isn't removed."""
    return item.cseq, not item.removed, item.registered_at


def without_closed(bindings: Iterable[StoredBinding], closed: Collection[WireFlow]) -> tuple[StoredBinding, ...]:
    """``bindings``, those on a flow of ``closed`` as removed ones: nobody is reached by them any more, unless a push
    wakes the phone."""
    return tuple(
        item.model_copy(update={"removed": True}) if item.flow in closed and item.push is None else item
        for item in bindings
    )


def present(
    bindings: Iterable[StoredBinding], now: float, name: Callable[[StoredBinding], str] = _key
) -> list[StoredBinding]:
    """The bindings that an AOR has, oldest first; ``name`` as in ``newest``."""
    live = [item for item in newest(bindings, name).values() if item.live(now)]
    return sorted(live, key=lambda item: (item.registered_at, item.key))


@dataclass(frozen=True, slots=True)
class Put:
    """Write ``binding`` if the item it replaces still has revision ``seen`` (None: if there is none)."""

    binding: StoredBinding
    seen: str | None


@dataclass(frozen=True, slots=True)
class RegisterOutcome:
    """A decision that holds once ``puts`` are written, all or none."""

    decision: Decision
    puts: tuple[Put, ...] = ()


def written(bindings: Iterable[StoredBinding], puts: Iterable[Put]) -> list[StoredBinding]:
    """The items of an AOR once ``puts`` are written."""
    items = {(item.key, item.address): item for item in bindings}
    items |= {(put.binding.key, put.binding.address): put.binding for put in puts}
    return list(items.values())


def remove(item: StoredBinding, revision: str, now: float) -> Put:
    """``item`` as a removed one, its place in the order kept."""
    gone = {"removed": True, "changed_at": round(now * 1000), "revision": revision}
    return Put(item.model_copy(update=gone), item.revision)
