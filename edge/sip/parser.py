"""Bytes to messages (RFC 3261 §7 and §25). Splits and slices; header values stay unparsed.

Lenient where a wrong message has one possible meaning, strict where guessing would let two parties read the same
message differently (line folding is undone, a bad Content-Length or a header line without a name is refused).
"""

from __future__ import annotations

from edge.sip.errors import ParseError
from edge.sip.headers import value_of
from edge.sip.message import Header, MalformedMessage, Message, Request, Response

MAX_MESSAGE = 65_535  # octets; what a UDP datagram can carry, and our limit on streams
MAX_HEADERS = 256

COMPACT = {  # RFC 3261 §7.3.3 and the registry of compact forms
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~")  # §25.1 token, lower case
_known: dict[str, str] = {}  # spelling seen -> canonical name; bounded, since names come from strangers
_KNOWN_LIMIT = 1024


def is_token(text: str) -> bool:
    """Whether ``text`` is a token of §25.1."""
    return bool(text) and _TOKEN.issuperset(text.lower())


def _canonical(spelling: str) -> str:
    name = spelling.rstrip(" \t").lower()  # HCOLON allows white space before the colon
    if not is_token(name):
        raise ParseError(f"header name {spelling!r} is not a token")
    name = COMPACT.get(name, name)
    if len(_known) < _KNOWN_LIMIT:
        _known[spelling] = name
    return name


def parse_headers(lines: list[str]) -> list[Header]:
    """Header lines, already unfolded, to (canonical name, line) pairs."""
    known = _known
    try:
        return [(known[line[: line.index(":")]], line) for line in lines]
    except (KeyError, ValueError):
        return [(_key(line), line) for line in lines]


def _key(line: str) -> str:
    spelling, colon, _ = line.partition(":")
    if not spelling or not colon:
        raise ParseError(f"header line without a name: {line[:60]!r}")
    return _known.get(spelling) or _canonical(spelling)


def parse_head(head: str) -> Message:
    """A start line and headers, without the blank line that ends them; the body is still empty. Raises
    MalformedMessage."""
    if "\n " in head or "\n\t" in head:  # §7.3.1: folded lines are one line
        head = head.replace("\r\n ", " ").replace("\r\n\t", " ")
    lines = head.split("\r\n")
    start = lines[0]
    if head.count("\n") != len(lines) - 1 or "\0" in head:
        raise MalformedMessage("a bare LF or NUL in the headers")
    if len(lines) > MAX_HEADERS:
        raise MalformedMessage(f"more than {MAX_HEADERS - 1} header fields", status=513)
    message: Message
    if start.startswith("SIP/"):
        parts = start.split(" ", 2)
        if len(parts) < 2 or parts[0] != "SIP/2.0" or len(parts[1]) != 3 or not parts[1].isdecimal():
            raise MalformedMessage(f"bad status line {start[:60]!r}")
        status = int(parts[1])
        if not 100 <= status <= 699:
            raise MalformedMessage(f"status {status} is not between 100 and 699")
        message = Response(status, parts[2] if len(parts) > 2 else "", [])
    else:
        parts = start.split(" ")
        if len(parts) != 3 or not is_token(parts[0]) or not parts[1]:
            raise MalformedMessage(f"bad request line {start[:60]!r}")
        message = Request(parts[0], parts[1], [])
    del lines[0]
    try:
        message.headers = parse_headers(lines)
    except ParseError as error:
        message.headers = _salvage(lines)
        raise MalformedMessage(str(error), message) from error
    if isinstance(message, Request) and parts[2] != "SIP/2.0":
        raise MalformedMessage("only SIP/2.0 is spoken here", message, 505)
    return message


def _salvage(lines: list[str]) -> list[Header]:
    """The readable ones among header lines of which some are bad, so that the request can be answered."""
    headers: list[Header] = []
    for line in lines:
        try:
            headers += parse_headers([line])
        except ParseError:
            continue
    return headers


def content_length(message: Message) -> int | None:
    """The Content-Length (§20.14); None if there is none. Several must agree."""
    found: int | None = None
    for key, line in message.headers:
        if key != "content-length":
            continue
        value = value_of(line)
        if not (value.isascii() and value.isdecimal()) or len(value) > 9:
            raise MalformedMessage(f"bad Content-Length {value[:20]!r}", message)
        if found is not None and found != int(value):
            raise MalformedMessage("two different values of Content-Length", message)
        found = int(value)
    return found


def parse(data: bytes) -> Message:
    """One message from one datagram. Octets after Content-Length are cut off; too few are an error (§18.3).
    Raises MalformedMessage."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise MalformedMessage("no blank line ends the headers")
    if end <= 2 and data.startswith(b"\r\n"):  # §7.5: empty lines before the start line are ignored
        return parse(data.lstrip(b"\r\n"))
    try:
        message = parse_head(data[:end].decode())
    except UnicodeDecodeError:
        message = parse_head(data[:end].decode("utf-8", "surrogateescape"))
        message.utf8 = False
    body = data[end + 4 :]
    length = content_length(message)
    if length is not None and length != len(body):
        if length > len(body):
            raise MalformedMessage(f"Content-Length is {length}, but the body has {len(body)} octets", message)
        body = body[:length]
    message.body = body
    return message
