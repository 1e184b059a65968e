"""A session as the engine saves it (rtpengine 10.5.3.5: one JSON object, all values texts), read for what survival
depends on."""

from __future__ import annotations

import json
import marshal
from typing import Any, Final

_PASSING: Final = ("last_signal", "last_packet", "stats-packets", "stats-bytes", "stats-errors", "fd")
"""What changes with every packet, or says nothing to another process."""
_SSRCS: Final = "ssrc_table-"
_INDEXES: Final = ("in_srtp_index", "in_srtcp_index", "out_srtp_index", "out_srtcp_index")
_PLAIN: Final = 2
"""The last version of ``marshal`` that writes equal values equally."""
_STEP: Final = 8192
"""Packets after which an SRTP index counts as another one. Who goes on from one that is less than 32,768 packets old
finds the roll-over counter by it (RFC 3711 §3.3.1)."""
_RTCP_AHEAD: Final = 4096
"""SRTCP packets that may have left since the session was saved. Their index is counted by the sender, and none may be
used twice (RFC 3711 §3.4, §9.1)."""


def gist(saved: bytes) -> int:
    """The same, in this process, for two savings of a session between which nothing happened that a restored one would
    miss. The engine saves each session several times in a call, so that this is cheap counts."""
    session = _read(saved)
    if session is None:
        return hash(saved)
    encrypts = _encrypts(session)
    said: list[object] = []
    for name, part in session.items():
        if name.startswith(_SSRCS):
            if encrypts:
                said.append([name, [[entry["ssrc"], *_steps(entry)] for entry in part]])
        elif isinstance(part, dict):
            said.append([name, {key: text for key, text in part.items() if key not in _PASSING}])
        else:
            said.append([name, part])
    return hash(marshal.dumps(said, _PLAIN))


def may_encrypt(saved: bytes) -> bool:
    """Whether a side speaks SRTP: the engine may encrypt, and packets that it has counted, and keys that it has agreed
    on since (DTLS), have to be known to go on. That nothing was counted when it was saved says nothing."""
    return b"SAVP" in saved  # the media's protocol; read for each saving, so not taken apart


def to_restore(saved: bytes) -> bytes:
    """What the engine is to read. It saves SRTP's indexes for each end (``ssrc_table-0``), but looks for them in one
    table of the whole session (``ssrc_table``): without it every roll-over counter would begin at 0 again, and past
    65,536 packets nobody could decrypt a packet."""
    session = _read(saved)
    if session is None or not _encrypts(session):
        return saved
    table: dict[str, dict[str, str]] = {}
    for name, part in session.items():
        if name.startswith(_SSRCS):
            for entry in part:
                known = table.setdefault(entry["ssrc"], dict(entry))
                for index in _INDEXES:
                    known[index] = str(max(int(known[index]), int(entry[index])))
    for entry in table.values():
        if entry["out_srtcp_index"] != "0":
            entry["out_srtcp_index"] = str(int(entry["out_srtcp_index"]) + _RTCP_AHEAD)
    session["ssrc_table"] = list(table.values())
    return json.dumps(session, separators=(",", ":")).encode()


def _read(saved: bytes) -> dict[str, Any] | None:
    """None for what isn't a session as far as it is used here."""
    try:
        session = json.loads(saved)
        for name, part in session.items():
            if name.startswith(_SSRCS):
                for entry in part:
                    int(entry["ssrc"])
                    for index in _INDEXES:
                        int(entry[index])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    assert isinstance(session, dict)
    return session


def _encrypts(session: dict[str, Any]) -> bool:
    """SRTP that passes through untouched leaves no index."""
    return any(
        entry[index] != "0"
        for name, part in session.items()
        if name.startswith(_SSRCS)
        for entry in part
        for index in _INDEXES
    )


def _steps(entry: dict[str, str]) -> list[int]:
    return [int(entry[index]) // _STEP for index in _INDEXES]
