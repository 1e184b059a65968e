"""A request as it came in, and what was read of it once for everybody."""

from __future__ import annotations

from dataclasses import dataclass

from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, tag_of, value_of
from edge.sip.message import Header, Request
from edge.sip.uri import Uri


class Fault(Exception):
    """The request is to be answered with ``status``, ``reason`` and ``headers``."""

    def __init__(self, status: int, reason: str = "", headers: tuple[Header, ...] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


@dataclass(slots=True)
class Incoming:
    """A request that passed RFC 3261 §16.3, with the parts that everybody reads. ``flow`` is how its sender is reached,
    ``source`` how it came, which says more about who sent it (see ``reached_by``). ``key`` is that of its server
    transaction; ``to_tag`` is "" outside a dialog; ``mark`` stands for where it was to go when it came, ``first`` has
    the first line of each header field; ``forwarded`` tells that it has passed other proxies; ``octets`` is how many it
    came in, 0 for one of our own; ``secure``: it doesn't leave TLS (RFC 5630 §3)."""

    flow: Flow
    source: Flow
    request: Request
    key: tuple[str, ...]
    uri: Uri
    call_id: str
    cseq: int
    to: NameAddr
    to_tag: str
    max_forwards: int
    mark: str
    first: dict[str, str]
    forwarded: bool
    octets: int = 0
    secure: bool = False
    _from_tag: str | None = None
    _from_uri: Uri | None = None

    def value(self, key: str) -> str | None:
        """The value of the first header field named ``key``, as the request came."""
        line = self.first.get(key)
        return None if line is None else value_of(line)

    @property
    def from_tag(self) -> str:
        """That of From; "" if there is none, or it can't be read."""
        if self._from_tag is None:
            self._from_tag = tag_of(value_of(self.first["from"]))
        return self._from_tag

    def from_uri(self) -> Uri:
        if self._from_uri is None:
            try:
                self._from_uri = _address(NameAddr.parse(value_of(self.first["from"])))
            except ParseError as error:
                raise Fault(400, f"Bad Request: {error}") from error
        return self._from_uri

    def to_uri(self) -> Uri:
        return _address(self.to)  # Uri.parse remembers, so asking again costs nothing


def _address(value: NameAddr) -> Uri:
    try:
        return Uri.parse(value.uri)
    except ParseError as error:
        raise Fault(400, f"Bad Request: {error}") from error
