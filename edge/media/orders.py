"""What an edge asks of the media engine of an edge address, and what comes back: here, and over the mesh."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

DESCRIBE: Final = "describe"
"""Give the ``body`` that the other side is to see instead of this one."""
DROP_BRANCH: Final = "drop-branch"
"""One branch of a fork has lost: give its ports back."""
RESTORE: Final = "restore"
"""An offer of ``by`` in the dialog with ``to`` was refused: the session is as it was before (RFC 3261 §14.1, RFC 3311
§5.1)."""
DROP: Final = "drop"
"""The dialog between the tags ``by`` and ``to`` is over, and the session with it, unless another of its dialogs is an
answered call (of a fork that two have answered); without tags the session is over."""

OFFER: Final = "offer"
ANSWER: Final = "answer"

FULL: Final = "full"
"""No ports are left, or the account or tenant has all that it may have: 503 for this call."""
UNKNOWN: Final = "unknown"
"""There is no session of that key, and this can't begin one: an answer, with no offer before it."""
GONE: Final = "gone"
"""Nobody holds the address, or its holder can't be reached."""
ENGINE: Final = "engine"
"""The engine doesn't answer."""
DESCRIPTION: Final = "description"
"""The engine can't read the description: 488."""


class Needs(NamedTuple):
    """What whoever gets a description needs of it. "" is always: as it is; in an answer: as was offered; and in an
    offer inside a dialog: as the side that gets it has described itself last, since only the engine's holder knows
    that, and with ``ice`` as the session was begun.

    ``profile`` is a transport protocol (RFC 8866 §8.2.2): "RTP/AVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF"...; ``ice``:
    "remove" (no ICE), "force" (the relay's candidates instead of those that are there), "force-relay" (the relay is
    added as last candidate, nothing else is changed); ``family``: "IP4" or "IP6"; ``dtls``: "off", "passive" or
    "active" (a=setup); ``sdes``: "off" (no a=crypto); ``rtcp_mux``: "demux", "offer" or "require".
    """

    profile: str = ""
    ice: str = ""
    family: str = ""
    dtls: str = ""
    sdes: str = ""
    rtcp_mux: str = ""


class MediaOrder(NamedTuple):
    """``key`` names the session: letters and digits, the same from every request of the call, at every edge. ``by`` is
    the tag (as phones know it) of whoever's description ``body`` is, ``to`` the other's, "" as long as it has none;
    ``branch`` names the branch of a fork that an INVITE goes to, and that its answers come from; it is "" in a dialog.

    ``role`` is OFFER or ANSWER where the transaction says which it is; "" (in a PRACK): an answer if an offer of the
    other side waits for one, else an offer. ``source`` is the IP address that the description came from, "" if that
    says nothing of its media.

    ``began`` (Unix time), ``tenant`` and ``leg`` name the call as its reports do (CallName). ``leg`` is "" in what may
    be said before the dialog is answered: one that has been named is a call, others are early. ``counts`` names to whom
    the session counts: those that an INVITE's decision limits, and how many sessions each may have at this address.

    DROP_BRANCH names ``branch``. After DESCRIBE ``body`` is never empty.
    """

    key: str
    kind: str
    by: str = ""
    to: str = ""
    branch: str = ""
    body: bytes = b""
    for_: Needs = Needs()
    role: str = ""
    source: str = ""
    tenant: str = ""
    began: int = 0
    leg: str = ""
    counts: Mapping[str, int] = {}

    def pack(self) -> bytes:
        """For another edge. What is as it is by default is left out."""
        given: dict[str, object] = {name: text for name in _TEXTS if (text := getattr(self, name))}
        if self.body:
            given["body"] = self.body.decode("latin-1")
        if self.began:
            given["began"] = self.began
        if self.counts:
            given["counts"] = dict(self.counts)
        if any(self.for_):
            given["for_"] = {name: text for name, text in self.for_._asdict().items() if text}
        return _packed(given)

    @classmethod
    def unpack(cls, data: bytes) -> MediaOrder:
        """What a newer edge says besides is left out. Raises ValueError."""
        given = _unpacked(data)
        wanted = given.get("for_", {})
        counts, began = given.get("counts", {}), given.get("began", 0)
        if not (isinstance(wanted, dict) and isinstance(counts, dict) and isinstance(began, int) and given.get("key")):
            raise ValueError("not an order")
        return cls(
            **{name: _text(given.get(name, "")) for name in _TEXTS},
            body=_text(given.get("body", "")).encode("latin-1"),
            for_=Needs(**{name: _text(wanted[name]) for name in wanted if name in _NEEDS}),
            began=began,
            counts={name: most for name, most in counts.items() if isinstance(most, int)},
        )


class SideQuality(NamedTuple):
    """Of one end of a session: ``packets`` that came from it, ``gap`` is the longest time in seconds that none did;
    what it has said of what came to it: packets ``lost``, ``jitter`` in milliseconds, ``mos`` from 1 to 4.5 (ITU-T
    G.107), the latter two on the average; None: it hasn't."""

    packets: int
    gap: float
    lost: int | None = None
    jitter: float | None = None
    mos: float | None = None


class MediaReply(NamedTuple):
    """To a DESCRIBE: the body for the other side, or None and why (FULL, UNKNOWN, GONE, ENGINE, DESCRIPTION). To the
    DROP of a dialog: the ``quality`` of the side ``by`` and of the other one; nothing if it isn't known."""

    body: bytes | None
    fault: str = ""
    quality: tuple[SideQuality, ...] = ()

    def pack(self) -> bytes:
        given: dict[str, object] = {"fault": self.fault}
        if self.body is not None:
            given = {"body": self.body.decode("latin-1")}
        if self.quality:
            given["quality"] = [list(side) for side in self.quality]
        return _packed(given)

    @classmethod
    def unpack(cls, data: bytes) -> MediaReply:
        """Raises ValueError."""
        given = _unpacked(data)
        body = given.get("body")
        return cls(
            _text(body).encode("latin-1") if body is not None else None,
            _text(given.get("fault", "")),
            _qualities(given.get("quality", [])),
        )


_NEEDS = Needs._fields
_TEXTS = ("key", "kind", "by", "to", "branch", "role", "source", "tenant", "leg")


def _packed(given: dict[str, object]) -> bytes:
    """Octets of a body stand for the characters of the same numbers (Latin-1), so that none is lost."""
    return json.dumps(given, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _unpacked(data: bytes) -> dict[str, object]:
    given = json.loads(data.decode("utf-8", "surrogatepass"))
    if not isinstance(given, dict):
        raise ValueError("not an object")
    return given


def _qualities(value: object) -> tuple[SideQuality, ...]:
    if not isinstance(value, list) or not all(isinstance(side, list) and len(side) >= 2 for side in value):
        raise ValueError("not what sides have heard")
    return tuple(SideQuality(*side[: len(SideQuality._fields)]) for side in value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value
