"""What is read of session descriptions (RFC 8866): the codecs that an answer has chosen."""

from __future__ import annotations

# Payload types that need no a=rtpmap (RFC 3551 §6).
_STATIC = {
    b"0": "PCMU/8000",
    b"3": "GSM/8000",
    b"4": "G723/8000",
    b"8": "PCMA/8000",
    b"9": "G722/8000",
    b"18": "G729/8000",
}
_MOST = 8  # media of one call that are named
_RTPMAP = b"a=rtpmap:"


def codecs(body: bytes) -> list[str]:
    """The codec that comes first in each media description that isn't refused (port 0, RFC 3264 §6), as
    ``audio PCMU/8000``. What can't be read is left out."""
    found: list[str] = []
    media = wanted = b""
    for line in body.splitlines():
        if line.startswith(b"m="):
            if media:
                found.append(_named(media, _STATIC.get(wanted, "")))
            words = line[2:].split()
            media, wanted = (words[0], words[3]) if len(words) > 3 and words[1] != b"0" else (b"", b"")
        elif media and line.startswith(_RTPMAP):
            kind, _, name = line[len(_RTPMAP) :].partition(b" ")
            if kind == wanted:
                found.append(_named(media, name.strip().decode("ascii", "replace")))
                media = b""
    if media:
        found.append(_named(media, _STATIC.get(wanted, "")))
    return [name[:80] for name in found[:_MOST]]


def _named(media: bytes, codec: str) -> str:
    return f"{media.decode('ascii', 'replace')} {codec}".strip()
