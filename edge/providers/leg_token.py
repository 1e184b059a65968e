"""What a call through a provider needs to know later, sealed into the URIs that its two sides keep for it: no edge has
to remember the call, and any of them can go on with it.

Three URIs are ours in such a call, told apart by the first letter of the user part:

- ``r.`` in the phone's route set: where the provider is, and how the two sides' numbers relate;
- ``c.`` as the Contact that the phone sees: the provider's own Contact, and the attempt that the provider answered;
- ``d.`` as the Contact that the provider sees: where the phone is, and its own Contact.

A call that goes from one provider on to another crosses two borders, and there is no phone between them to keep the
route set and the Contact: the ``r.`` token then carries them itself, and stands as the Contact.

A call that was transferred has a phone on this side of the border that the provider's dialog wasn't begun with: each of
the two tokens then names the dialog on the other side (``DialogNames``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from edge.sip import base64url
from edge.sip.flow import Flow
from edge.sip.headers import tag_of
from lambdas.contract import way_sealed_for

MAX_TOKEN = 2000  # characters


class BadLegToken(ValueError):
    """It isn't one of ours, or of another call."""


class Sealer(Protocol):
    """The fleet's token keys."""

    def seal_data(self, plain: bytes, associated: bytes, like: bytes = b"") -> bytes:
        """By the key that ``like`` was sealed by, if that is still known; else by the present one."""

    def open_data(self, sealed: bytes, associated: bytes) -> bytes:
        """Raises ValueError."""


class DialogNames(NamedTuple):
    """A dialog (RFC 3261 §12), as what we send in it has it: the values of From (``local``) and To (``remote``), with
    their tags."""

    call_id: str
    local: str
    remote: str

    @property
    def tags(self) -> tuple[str, str]:
        """The local one, and the remote one."""
        return tag_of(self.local), tag_of(self.remote)


class RelayedMedia(NamedTuple):
    """Where a call's media are relayed: the edge address whose engine does it, and the session's key there."""

    address: str
    key: str


UNNUMBERED = -1
"""Of a call of before the edges gave what they send to phones numbers of their own."""


@dataclass(frozen=True, slots=True)
class LegToProvider:
    """The way from the phone to the provider. ``from_value`` and ``to_uri`` are what the provider was told; in calls
    that came from it ``from_value`` is "", and ``to_uri`` its own From where the phone doesn't see that. ``base`` is
    what the phone's CSeq numbers are counted from. ``contact``, ``routes`` and ``attempt`` are the provider's Contact
    URI, the Route values and the attempt it answered, where no phone keeps them. ``phone`` and ``binding`` are the flow
    and the binding that may use it; None in ways of before that was said. ``salt`` is the edge's own name for the call,
    which its record is found by. ``theirs`` is the CSeq number of the INVITE that the phone got (0 if it has made the
    call), ``dialog`` the provider's dialog where it isn't the phone's; ``media`` says where they are relayed, None if
    they aren't. ``sealed`` is the user part that it was opened
    from, "" for one that is made."""

    provider: str
    flow: Flow
    base: int
    tenant: str
    started: int
    transfers: bool
    from_value: str = ""
    to_uri: str = ""
    contact: str = ""
    routes: tuple[str, ...] = ()
    attempt: int = 0
    phone: Flow | None = None
    binding: str = ""
    salt: str = ""
    theirs: int = UNNUMBERED
    dialog: DialogNames | None = None
    media: RelayedMedia | None = None
    sealed: str = field(default="", compare=False)

    @property
    def translated(self) -> bool:
        """Whether the call is the phone's: the provider then knows it by other names."""
        return bool(self.from_value)


@dataclass(frozen=True, slots=True)
class LegToPhone:
    """The way from the provider to the phone. ``back``: the way back, where no phone keeps it; ``peer`` is the
    provider's IP address as far as it is known, "" in ways of before that was said; ``withheld``: the phone isn't to
    see who calls. ``theirs``: as in LegToProvider; ``answered`` is the number of the provider's INVITE that was
    answered with this, and the one that the phone got it under; ``dialog`` is the phone's where it isn't the
    provider's; ``media``: as in LegToProvider."""

    provider: str
    flow: Flow
    binding: str
    contact: str
    tenant: str
    started: int
    transfers: bool
    translated: bool
    back: LegToProvider | None = None
    peer: str = ""
    salt: str = ""
    withheld: bool = False
    theirs: int = UNNUMBERED
    answered: tuple[int, int] = (0, 0)
    dialog: DialogNames | None = None
    media: RelayedMedia | None = None


def seal_way(way: LegToProvider | LegToPhone, call_id: str, keys: Sealer, tag: str = "") -> str:
    """The user part for a Record-Route or Contact. ``call_id`` is that of the side which gets it; ``tag`` is the
    provider's tag of the dialog: a way to a provider is of use in that dialog only."""
    if isinstance(way, LegToProvider):
        return _seal("r.", _values(way), f"{call_id} {tag}", keys)
    values: list[Any] = [
        way.provider, _flow(way.flow), way.binding, way.contact, way.tenant, way.started, int(way.transfers),
        int(way.translated),
    ]  # fmt: skip
    more: list[Any] = [_values(way.back) if way.back is not None else None, way.peer, way.salt, int(way.withheld)]
    if way.theirs != UNNUMBERED:
        more += [way.theirs, list(way.answered), way.dialog and list(way.dialog)]
        if way.media is not None:
            more.append(list(way.media))
    else:
        while more and not more[-1]:
            more.pop()
    values += more
    return _seal("d.", values, call_id, keys)


def _values(way: LegToProvider) -> list[Any]:
    values: list[Any] = [
        way.provider, _flow(way.flow), way.base, way.tenant, way.started, int(way.transfers), way.from_value,
        way.to_uri,
    ]  # fmt: skip
    kept = [way.contact, list(way.routes), way.attempt]
    sender = [list(way.phone) if way.phone is not None else None, way.binding, way.salt]
    numbers: list[Any] = [way.theirs, way.dialog and list(way.dialog)] if way.theirs != UNNUMBERED else []
    if way.media is not None:
        numbers.append(list(way.media))
    if not any(sender) and not numbers:
        sender = []
    return values + kept + sender + numbers if any(kept) or sender else values


def _flow(flow: Flow) -> list[Any]:
    """Edges up to version 8 can't read who the server has to be, and don't do TLS."""
    return list(flow if flow.server else flow[:6])


def _way(values: Any) -> LegToProvider:
    provider, flow, base, tenant, started, transfers, from_value, to_uri, *kept = values
    contact, routes, attempt, *sender = kept or ("", (), 0)
    phone, binding, salt, *numbers = sender or (None, "", "")
    theirs, dialog, media = (*numbers, None) if len(numbers) == 2 else numbers or (UNNUMBERED, None, None)
    return LegToProvider(
        provider,
        Flow(*flow),
        base,
        tenant,
        started,
        bool(transfers),
        from_value,
        to_uri,
        contact,
        tuple(routes),
        attempt,
        Flow(*phone) if phone else None,
        binding,
        salt,
        theirs,
        DialogNames(*dialog) if dialog else None,
        RelayedMedia(*media) if media else None,
    )


def open_way(user: str, call_id: str, keys: Sealer, tag: str) -> LegToProvider | LegToPhone | None:
    """What ``seal_way`` sealed; None if ``user`` doesn't look like it. ``tag`` is that of To. Raises BadLegToken."""
    if user.startswith("r."):
        return replace(_way(_open("r.", user, f"{call_id} {tag}", keys, (8, 11, 14, 16, 17))), sealed=user)
    if user.startswith("d."):
        values = _open("d.", user, call_id, keys, (8, 9, 10, 11, 12, 15, 16))
        provider, flow, binding, contact, tenant, started, transfers, translated = values[:8]
        more: list[Any] = [*values[8:], *[None, "", "", 0, UNNUMBERED, (0, 0), None, None][len(values) - 8 :]]
        back, peer, salt, withheld, theirs, answered, dialog, media = more
        return LegToPhone(
            provider,
            Flow(*flow),
            binding,
            contact,
            tenant,
            started,
            bool(transfers),
            bool(translated),
            _way(back) if back else None,
            peer,
            salt,
            bool(withheld),
            theirs,
            tuple(answered),
            DialogNames(*dialog) if dialog else None,
            RelayedMedia(*media) if media else None,
        )
    return None


def seal_contact(uri: str, attempt: int, call_id: str, keys: Sealer) -> str:
    """The user part of the Contact that the phone sees."""
    return _seal("c.", [uri, attempt], call_id, keys)


def open_contact(user: str, call_id: str, keys: Sealer) -> tuple[str, int] | None:
    """The provider's Contact URI, and the attempt. Raises BadLegToken."""
    if not user.startswith("c."):
        return None
    uri, attempt = _open("c.", user, call_id, keys, (2,))
    return uri, attempt


def seal_call_id(call_id: str, keys: Sealer, way: str = "") -> str:
    """The Call-ID that the provider sees: the phone's may name its private address. ``way`` is a user part of the call:
    keys change every day, but not a call's Call-ID."""
    like = base64url.decode(way[2:6])  # its key's id is the first octet
    return base64url.encode(keys.seal_data(call_id.encode("utf-8", "surrogateescape"), b"call-id", like))


def open_call_id(text: str, keys: Sealer) -> str:
    """Raises BadLegToken."""
    try:
        return keys.open_data(base64url.decode(text), b"call-id").decode("utf-8", "surrogateescape")
    except ValueError as error:
        raise BadLegToken("a Call-ID that isn't ours") from error


def _seal(kind: str, values: list[Any], call_id: str, keys: Sealer) -> str:
    plain = json.dumps(values, separators=(",", ":")).encode()
    return kind + base64url.encode(keys.seal_data(plain, way_sealed_for(kind, call_id)))


def _open(kind: str, user: str, call_id: str, keys: Sealer, counts: tuple[int, ...]) -> list[Any]:
    try:
        if len(user) > MAX_TOKEN:
            raise BadLegToken("longer than any of ours")
        values = json.loads(keys.open_data(base64url.decode(user[len(kind) :]), way_sealed_for(kind, call_id)))
    except ValueError as error:
        raise BadLegToken("not for this call") from error
    if not isinstance(values, list) or len(values) not in counts:
        raise BadLegToken("of another version")
    return values
