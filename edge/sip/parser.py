"""Bytes to messages (RFC 3261 §7 and §25). Splits and slices; header values stay unparsed.

Lenient where a wrong message has one possible meaning, strict where guessing would let two parties read the same
message differently (line folding is undone, a bad Content-Length or a header line without a name is refused).
"""

from __future__ import annotations

from edge.sip.errors import ParseError
from edge.sip.headers import value_of
from edge.sip.message import Header, MalformedMessage, Message, Request, Response
from edge.sip.numbers import number_of

MAX_MESSAGE = 65_535  # octets; what a UDP datagram can carry, and our limit on streams
MAX_HEADERS = 256
MAX_STRANGERS_HEAD = 8192
"""Octets of start line and header fields, from somebody who hasn't shown who he is."""
_LONGEST_LENGTH = 999_999_999  # of a Content-Length that is a number at all

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
_METHODS = frozenset(("REGISTER", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "MESSAGE", "UPDATE", "NOTIFY"))
"""Frequent ones, which needn't be looked at letter by letter."""
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
    ends = len(lines) - 1
    if head.count("\n") != ends or head.count("\r") != ends:
        raise MalformedMessage("a bare CR or LF in the headers", _readable(head), unframed=True)
    if "\0" in head and not all(_nuls_are_quoted(line) for line in lines):
        raise MalformedMessage("a NUL in the headers", _readable(head))
    if len(lines) > MAX_HEADERS:
        raise MalformedMessage(f"more than {MAX_HEADERS - 1} header fields", _readable(head), 513)
    message = _start_line(lines[0], head)
    del lines[0]
    try:
        message.headers = parse_headers(lines)
    except ParseError as error:
        raise MalformedMessage(str(error), _readable(head)) from error
    return message


def _start_line(start: str, head: str) -> Message:
    """A message without headers; ``head`` is for what can't be used."""
    if start.startswith("SIP/2.0 "):
        return _status_line(start, head)
    parts = start.split(" ")
    if len(parts) == 3 and parts[2] == "SIP/2.0" and parts[1] and start.isprintable():
        method = parts[0]
        if method in _METHODS or is_token(method):
            return Request(method, parts[1], [])
    return _unusual_start(start, parts, head)


def _status_line(start: str, head: str) -> Response:
    """§7.2."""
    version, _, rest = start.partition(" ")
    code, _, reason = rest.partition(" ")
    if len(code) != 3 or not (code.isascii() and code.isdecimal()) or version.upper() != "SIP/2.0":
        raise MalformedMessage(f"bad status line {start[:60]!r}", _readable(head))
    status = int(code)
    if not 100 <= status <= 699:
        raise MalformedMessage(f"status {status} is not between 100 and 699", _readable(head))
    return Response(status, reason, [])


def _unusual_start(start: str, parts: list[str], head: str) -> Message:
    """A version in small letters (§7.1), another version (§21.5.6), or what is malformed."""
    if start[:4].upper() == "SIP/":
        return _status_line(start, head)
    if len(parts) != 3 or not is_token(parts[0]) or not parts[1] or not start.isprintable():
        raise MalformedMessage(f"bad request line {start[:60]!r}", _readable(head))
    if not _is_version(parts[2]):
        raise MalformedMessage(f"bad request line {start[:60]!r}", _readable(head))
    if parts[2].upper() != "SIP/2.0":
        raise MalformedMessage("only SIP/2.0 is spoken here", _readable(head), 505)
    return Request(parts[0], parts[1], [])


def _is_version(text: str) -> bool:
    """§25.1 SIP-Version."""
    name, _, number = text.partition("/")
    major, _, minor = number.partition(".")
    return name.upper() == "SIP" and number.isascii() and major.isdecimal() and minor.isdecimal()


def _nuls_are_quoted(line: str) -> bool:
    """Whether each NUL stands in a quoted-string, after a backslash (§25.1 quoted-pair)."""
    quoted = escaped = False
    for char in line:
        if char == "\0" and not escaped:
            return False
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = quoted
        elif char == '"':
            quoted = not quoted
    return True


def _readable(head: str) -> Message:
    """What can be read of a malformed message, whatever its lines end with: enough to answer a request. It is never
    sent on."""
    lines = head.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start = lines[0].split(None, 2)
    headers: list[Header] = []
    for line in lines[1 : MAX_HEADERS + 1]:
        try:
            headers += parse_headers([line] if "\0" not in line else [])
        except ParseError:
            continue
    if not start or start[0][:4].upper() == "SIP/":
        return Response(0, "", headers)
    return Request(start[0], start[1] if len(start) > 1 else "", headers)


def content_length(message: Message) -> int | None:
    """The Content-Length (§20.14); None if there is none. Several must agree."""
    found: int | None = None
    for key, line in message.headers:
        if key != "content-length":
            continue
        value = value_of(line)
        length = number_of(value, _LONGEST_LENGTH)
        if length is None:
            raise MalformedMessage(f"bad Content-Length {value[:20]!r}", message, unframed=True)
        if found is not None and found != length:
            raise MalformedMessage("two different values of Content-Length", message, unframed=True)
        found = length
    return found


def parse(data: bytes, framed: bool = False) -> Message:
    """One message from one datagram, or ``framed``: from a stream, where Content-Length says where it ends (§18.3).
    Octets after Content-Length are cut off; too few are an error; where there is none it is added. Raises
    MalformedMessage."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise _endless(data)
    if end <= 2 and data.startswith(b"\r\n"):  # §7.5: empty lines before the start line are ignored
        return parse(data.lstrip(b"\r\n"), framed)
    try:
        message = parse_head(data[:end].decode())
    except UnicodeDecodeError:
        message = parse_head(data[:end].decode("utf-8", "surrogateescape"))
        message.utf8 = False
    body = data[end + 4 :]
    length = content_length(message)
    if length is None:
        if framed:
            raise MalformedMessage("no Content-Length on a stream", message, unframed=True)
        message.headers.append(("content-length", f"Content-Length: {len(body)}"))  # it may go on by a stream
    elif length != len(body):
        if length > len(body):
            if end + 4 + length > MAX_MESSAGE:
                raise MalformedMessage(f"a message longer than {MAX_MESSAGE} octets", message, 513)
            raise MalformedMessage(f"Content-Length is {length}, but the body has {len(body)} octets", message)
        body = body[:length]
    message.body = body
    return message


def _endless(data: bytes) -> MalformedMessage:
    """Of what has no blank line: a head that is too long, or a message that isn't whole."""
    head = data.decode("utf-8", "surrogateescape").lstrip("\r\n")
    message = _readable(head.rpartition("\n")[0] or head)  # the last line may be cut short
    if len(data) + 4 > MAX_STRANGERS_HEAD:
        return MalformedMessage("the headers are too long", message, 513)
    return MalformedMessage("no blank line ends the headers", message)
