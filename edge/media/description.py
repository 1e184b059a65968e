"""What has to be known of a session description (RFC 8866) to judge whether two ends can hear each other."""

from __future__ import annotations

from typing import NamedTuple

_DIRECTIONS = frozenset((b"sendrecv", b"sendonly", b"recvonly", b"inactive"))
_MOST = 50  # media of one description
_NOWHERE = b"IN IP4 0.0.0.0"


class Medium(NamedTuple):
    """One of ``m=``: ``port`` 0 is a refusal (RFC 3264 §6); ``address`` is that of its own ``c=``, or the session's."""

    kind: str
    port: int
    profile: str
    address: str
    direction: str = "sendrecv"
    fingerprint: bool = False
    crypto: bool = False
    rtcp_mux: bool = False
    ice: bool = False


class Description(NamedTuple):
    """``ice`` is "" (none), "lite" (RFC 8445 §2.5) or "full"; ``candidates`` tells whether it has some."""

    media: tuple[Medium, ...]
    ice: str = ""
    candidates: bool = False

    @property
    def address(self) -> str:
        """Where media are to go, of the first that isn't refused; "" if there is none."""
        return next((medium.address for medium in self.media if medium.port), "")

    @property
    def profile(self) -> str:
        """The transport protocol of the first RTP medium, "" if there is none."""
        return next((medium.profile for medium in self.media if "RTP/" in medium.profile), "")

    @property
    def by_udp(self) -> bool:
        """Whether there is anything that an engine relays."""
        return any(medium.port and not medium.profile.upper().startswith("TCP") for medium in self.media)

    @property
    def dtls(self) -> bool:
        """Whether its RTP is encrypted with keys by DTLS (RFC 5764)."""
        return any(medium.fingerprint and "TLS/RTP/" in medium.profile for medium in self.media)


def read(body: bytes) -> Description | None:
    """None if it can't be read, which isn't an error: it is passed on as it is."""
    try:
        return _read(body)
    except ValueError:
        return None


def _read(body: bytes) -> Description:
    """Raises ValueError."""
    if not body.startswith(b"v="):
        raise ValueError("not a description")
    head, *sections = body.replace(b"\r", b"").split(b"\nm=")
    if not sections or len(sections) > _MOST:
        raise ValueError("no media, or too many")
    session = head.split(b"\n")
    common = _attributes(session)
    address = _connection(session)
    media = tuple(_medium(section.split(b"\n"), address, common) for section in sections)
    ice = ""
    if any(medium.ice for medium in media):
        ice = "lite" if b"ice-lite" in common else "full"
    return Description(media, ice, b"\na=candidate:" in body)


def _medium(lines: list[bytes], address: str, common: set[bytes]) -> Medium:
    words = lines[0].split()
    if len(words) < 4:
        raise ValueError("an m= that isn't one")
    said = _attributes(lines) | common
    own = _attributes(lines) & _DIRECTIONS
    direction = next(iter(own or common & _DIRECTIONS), b"sendrecv")
    return Medium(
        words[0].decode("ascii"),
        int(words[1].partition(b"/")[0]),
        words[2].decode("ascii"),
        _connection(lines) or address,
        direction.decode(),
        b"fingerprint" in said,
        b"crypto" in said,
        b"rtcp-mux" in said,
        b"ice-ufrag" in said,
    )


def _attributes(lines: list[bytes]) -> set[bytes]:
    """Their names."""
    return {line[2:].partition(b":")[0].strip() for line in lines if line.startswith(b"a=")}


def _connection(lines: list[bytes]) -> str:
    """The address of ``c=`` (§5.7); "" without one."""
    for line in lines:
        if line.startswith(b"c="):
            words = line[2:].split()
            if len(words) != 3:
                raise ValueError("a c= that isn't one")
            return words[2].partition(b"/")[0].decode("ascii")
    return ""


def ice_names(body: bytes) -> list[bytes]:
    """The lines that another one of is a restart of ICE (RFC 8839 §4.4.3)."""
    return [line for line in body.split(b"\r\n") if line.startswith(b"a=ice-ufrag:")]


def mended(body: bytes, source: str) -> bytes:
    """``body`` of a browser that has no candidates yet, with ``source``, where it came from, for the address 0.0.0.0
    (RFC 8840 §4.1.1): an engine would take it for hold, as RFC 2543 had it. Without ICE it is hold, and stays so."""
    if not source or _NOWHERE not in body or b"a=ice-ufrag:" not in body:
        return body
    address = f"IN {'IP6' if ':' in source else 'IP4'} {source}".encode()
    lines = body.split(b"\n")
    for index, line in enumerate(lines):
        if line.startswith((b"c=", b"a=rtcp:")):
            lines[index] = line.replace(_NOWHERE, address)
    return b"\n".join(lines)
