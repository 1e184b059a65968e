"""Where a description has media sent, and what an engine may be told of that.

An engine sends wherever it is told to, from this machine: to services on loopback too, its own control port among them,
and what it sends there are the octets of whoever talks. So addresses that no phone can have aren't passed on to it.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

NOWHERE = "0.0.0.0"
_NOBODY = (NOWHERE, "::")
_SENDING = frozenset((b"a=sendrecv", b"a=sendonly"))
_DIRECTIONS = _SENDING | {b"a=recvonly", b"a=inactive"}
TCP = b"TCP"
"""What the protocols of media over TCP begin with (RFC 4145 §4, RFC 4571, RFC 4975, RFC 8856)."""
MEDIA_LINES = 8
"""Lines of media (m=) in one description; each costs an engine four ports."""


def media_lines(body: bytes) -> int:
    """How many lines of media there are."""
    return body.count(b"\nm=")


def strict(body: bytes, source: str = "") -> bytes | None:
    """``body`` in the one spelling that an engine can't read otherwise than it is read here; None if it might. Each
    line ends with CRLF (RFC 8866 §5), a connection is ``IN IP4`` or ``IN IP6`` and an address (§5.7): for a host's name
    ``source`` stands, where the description came from. Of ``a=rtcp`` (RFC 3605 §2.1) the port alone stays: RTCP goes to
    where the media go. Media over TCP are refused (port 0, RFC 3264 §6): the engine would take a port of UDP for them.
    """
    lines = []
    for line in body.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n"):
        if b"\r" in line or b"\0" in line:
            return None
        spelt: bytes | None = line
        match line[:2]:
            case b"o=":
                spelt = _origin(line)
            case b"c=":
                spelt = _connection(line, source)
            case b"m=":
                spelt = _medium(line)
            case _ if line[:1].lower() in (b"o", b"c", b"m"):
                return None
            case _ if line[:7].lower() == b"a=rtcp:":
                port = line[7:].split(b" ", 1)[0]
                spelt = b"a=rtcp:" + port if port.isdigit() else None
        if spelt is None:
            return None
        lines.append(spelt + b"\r\n")
    return b"".join(lines)


def _origin(line: bytes) -> bytes:
    """The engine counts words, and a user's name may have several (§5.2 allows one)."""
    words = line.split(b" ")
    return b" ".join((b"o=-", *words[-5:])) if len(words) > 6 else line


def _connection(line: bytes, source: str) -> bytes | None:
    words = line.split(b" ")
    if len(words) != 3 or words[0] != b"c=IN" or words[1] not in (b"IP4", b"IP6"):
        return None
    if _is_address(words[2].partition(b"/")[0].decode("latin-1")):
        return line
    return f"c=IN {'IP6' if is_ipv6(source) else 'IP4'} {source}".encode() if source else None


def _medium(line: bytes) -> bytes:
    words = line.split()
    if len(words) < 3 or not words[2].upper().startswith(TCP):
        return line
    return b" ".join((words[0], b"0", *words[2:]))


def hosts(body: bytes) -> set[str]:
    """The hosts in the ``c=`` lines of a ``strict`` body. ICE candidates are checked before media go there
    (RFC 8445)."""
    return {
        line.split(b" ")[2].partition(b"/")[0].decode("latin-1")
        for line in body.split(b"\r\n")
        if line.startswith(b"c=")
    }


def unreachable(body: bytes) -> list[str]:
    """Those of the hosts that packets from elsewhere don't get to."""
    return [host for host in hosts(body) if host not in _NOBODY and not is_reachable(host)]


def named_host(body: bytes) -> str:
    """One that media may be sent to, of those that it names; "" if there is none."""
    return next((host for host in hosts(body) if host != NOWHERE), "")


def held(body: bytes, host: str) -> bytes:
    """``body`` with ``host`` instead of 0.0.0.0, and no media wanted instead (RFC 3264 §8.4 has both ways to hold). An
    engine that is told of another address learns anew where the end is. With ICE that address says nothing."""
    at = f"IN IP4 {NOWHERE}".encode()
    if not host or is_ipv6(host) or at not in body or b"\na=ice-ufrag:" in body:
        return body
    session, *media = _sections(body.replace(at, f"IN IP4 {host}".encode()))
    default = _direction(session, b"a=sendrecv")
    lines = [line for line in session if line not in _DIRECTIONS]
    for section in media:
        lines += [line for line in section if line not in _DIRECTIONS]
        lines.append(b"a=sendonly" if _direction(section, default) in _SENDING else b"a=inactive")
    return b"".join(line + b"\r\n" for line in lines)


def rests(body: bytes, before: bytes) -> bool:
    """Whether ``body`` differs from ``before`` by no host and no port, and wants no media in both directions: where the
    end is was heard, and isn't to be learnt anew from whoever sends while the end itself may be silent."""
    session, *media = _sections(body)
    default = _direction(session, b"a=sendrecv")
    return _places(body) == _places(before) and all(_direction(section, default) != b"a=sendrecv" for section in media)


def _places(body: bytes) -> list[bytes]:
    """The lines that say where media go."""
    lines = body.split(b"\r\n")
    return [line if line[:1] == b"c" else b" ".join(line.split()[:2]) for line in lines if line[:2] in (b"c=", b"m=")]


def _sections(body: bytes) -> list[list[bytes]]:
    """The lines of the session, and of each medium."""
    sections: list[list[bytes]] = [[]]
    for line in body.splitlines():
        if line.startswith(b"m="):
            sections.append([])
        sections[-1].append(line)
    return sections


def _direction(lines: list[bytes], default: bytes) -> bytes:
    return next((line for line in lines if line in _DIRECTIONS), default)


def shares_port(body: bytes) -> bool:
    """Whether RTP and RTCP are to share a port (RFC 5761)."""
    return b"\na=rtcp-mux" in body


@lru_cache(1000)
def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(1000)
def is_phone(host: str, near: bool) -> bool:
    """Whether a phone may be at ``host``: it is an IP address of one machine, another one than this, or none at all
    (0.0.0.0, which stands for hold and for ICE). ``near``: the edge itself is on loopback, and so are its phones."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return not (address.is_multicast or address.is_link_local or (address.is_loopback and not near))


@lru_cache(1000)
def is_reachable(host: str) -> bool:
    """Whether packets can be sent to ``host`` (an IP address) from anywhere."""
    return ip_address(host).is_global


def is_ipv6(host: str) -> bool:
    return ":" in host
