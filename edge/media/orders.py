"""What an edge asks of the media engine of an edge address, and what comes back: here, and over the mesh."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

DESCRIBE: Final = "describe"
"""Give the ``body`` that the other side is to see instead of this one."""
DROP_BRANCH: Final = "drop-branch"
"""One branch of a fork has lost: give its ports back."""
DROP: Final = "drop"
"""The call is over, or isn't relayed any more."""

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
    """What whoever gets a description needs of it. "" is always: as it is, and in an answer: as was offered.

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
    """``key`` names the session: it has nothing in it but letters and digits, and is the same from every request of the
    call, at every edge. ``by`` is the tag (as the phone's side knows it) of whoever's description ``body`` is, ``to``
    the other's, "" as long as it has none; ``branch`` names the branch of a fork that it goes to or comes from, "" in a
    dialog.

    ``role`` is OFFER or ANSWER where the transaction says which it is; "" (in a PRACK): an answer if an offer of the
    other side waits for one, else an offer. ``source`` is the IP address that the description came from, "" if that
    says nothing. ``tenant`` and ``account`` are whose session it is, for limits; ``leg`` is the name of the answered
    call in reports (CallAnswered.call), "" as long as both tags aren't known.

    DROP_BRANCH names ``branch``, or, of a branch that has answered twice, also the tag ``to``; DROP needs ``key`` only.
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
    account: str = ""
    leg: str = ""

    def pack(self) -> bytes:
        """For another edge. What is as it is by default is left out."""
        given: dict[str, object] = {name: text for name in _TEXTS if (text := getattr(self, name))}
        if self.body:
            given["body"] = self.body.decode("latin-1")
        if any(self.for_):
            given["for_"] = {name: text for name, text in self.for_._asdict().items() if text}
        return _packed(given)

    @classmethod
    def unpack(cls, data: bytes) -> MediaOrder:
        """What a newer edge says besides is left out. Raises ValueError."""
        given = _unpacked(data)
        wanted = given.get("for_", {})
        if not isinstance(wanted, dict) or "key" not in given or "kind" not in given:
            raise ValueError("not an order")
        texts = {name: _text(given[name]) for name in _TEXTS if name in given}
        body = _text(given.get("body", "")).encode("latin-1")
        return cls(**texts, body=body, for_=Needs(**{name: _text(wanted[name]) for name in wanted if name in _NEEDS}))


class MediaReply(NamedTuple):
    """To a DESCRIBE: the body for the other side, or None and why (FULL, UNKNOWN, GONE, ENGINE, DESCRIPTION)."""

    body: bytes | None
    fault: str = ""

    def pack(self) -> bytes:
        return _packed({"body": self.body.decode("latin-1")} if self.body is not None else {"fault": self.fault})

    @classmethod
    def unpack(cls, data: bytes) -> MediaReply:
        """Raises ValueError."""
        given = _unpacked(data)
        body = given.get("body")
        return cls(_text(body).encode("latin-1") if body is not None else None, _text(given.get("fault", "")))


_NEEDS = Needs._fields
_TEXTS = tuple(name for name in MediaOrder._fields if name not in ("body", "for_"))


def _packed(given: dict[str, object]) -> bytes:
    """Octets of a body stand for the characters of the same numbers (Latin-1), so that none is lost."""
    return json.dumps(given, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _unpacked(data: bytes) -> dict[str, object]:
    given = json.loads(data.decode("utf-8", "surrogatepass"))
    if not isinstance(given, dict):
        raise ValueError("not an object")
    return given


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value
