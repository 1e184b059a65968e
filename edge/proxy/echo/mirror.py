"""The answer to a session description that has whoever sends there send to itself (RFC 3264 §6).

What the relay offers names a port of its own, at which it awaits the other side's media. An answer with that very port
makes the relay its own other side: what the caller sends leaves by that port and comes in by it, and goes on to the
caller as it was.
"""

from __future__ import annotations

_PROFILES = frozenset((b"RTP/AVP", b"RTP/AVPF", b"RTP/SAVP", b"RTP/SAVPF"))
_SECURE = frozenset((b"RTP/SAVP", b"RTP/SAVPF"))
_KEPT = (b"a=rtpmap:", b"a=fmtp:", b"a=ptime:", b"a=maxptime:", b"a=rtcp:", b"a=rtcp-mux")
_ANSWERS = {
    b"a=sendrecv": b"a=sendrecv",
    b"a=sendonly": b"a=recvonly",
    b"a=recvonly": b"a=sendonly",
    b"a=inactive": b"a=inactive",
}
_CRYPTO = b"a=crypto:"


def mirrored(offer: bytes, session: int, version: int) -> bytes | None:
    """The answer to ``offer``, which takes its first audio and refuses its other media (§6: port 0); None if it has no
    audio that can be sent back. ``session`` and ``version`` are those of ``o=`` (RFC 8866 §5.2)."""
    head, *media = _sections(offer)
    chosen = next((section for section in media if _comes_back(section)), None)
    connection = _first(b"c=", chosen or ()) or _first(b"c=", head)
    if chosen is None or not connection:
        return None
    lines = [b"v=0", b"o=- %d %d %s" % (session, version, connection[2:]), b"s=-", connection, b"t=0 0"]
    for section in media:
        lines += _taken(section, head) if section is chosen else [_refused(section[0])]
    return b"\r\n".join((*lines, b""))


def _sections(description: bytes) -> list[list[bytes]]:
    """Its lines: those of the session, and those of each medium."""
    sections: list[list[bytes]] = [[]]
    for line in description.splitlines():
        if line.startswith(b"m="):
            sections.append([])
        sections[-1].append(line)
    return sections


def _first(start: bytes, lines: list[bytes] | tuple[()]) -> bytes:
    return next((line for line in lines if line.startswith(start)), b"")


def _comes_back(section: list[bytes]) -> bool:
    """Whether it is audio by RTP. With keys that belong to one end (DTLS) it can't be: the relay has to end that."""
    words = section[0].split()
    if len(words) < 4 or words[0] != b"m=audio" or words[1] == b"0" or words[2] not in _PROFILES:
        return False
    return words[2] not in _SECURE or bool(_first(_CRYPTO, section))


def _taken(section: list[bytes], head: list[bytes]) -> list[bytes]:
    crypto = _first(_CRYPTO, section)
    offered = next((line for line in (*section, *head) if line in _ANSWERS), b"a=sendrecv")
    kept = [line for line in section[1:] if line.startswith(_KEPT)]
    return [section[0], *kept, *([crypto] if crypto else []), _ANSWERS[offered]]


def _refused(line: bytes) -> bytes:
    words = line.split()
    return b" ".join((words[0], b"0", *words[2:]))
