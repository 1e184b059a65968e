"""SIP messages (RFC 3261 §7): a start line, header fields kept in order as they came, and a body.

A header field is a pair: its canonical name in lower case (compact forms expanded), and its whole line as it is
sent. Values are parsed only when somebody reads them, and a line nobody touches is sent on as it came.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, parse_params, split_list, value_of

Header = tuple[str, str]


def header_of(line: str) -> Header:
    """Of a whole ``line`` with a header field's full name."""
    return line.partition(":")[0].lower(), line


class Message:
    """What requests and responses share."""

    __slots__ = ("body", "headers", "utf8")

    def __init__(self, headers: list[Header], body: bytes = b"") -> None:
        self.headers = headers
        self.body = body
        self.utf8 = True  # false where octets that aren't UTF-8 are carried along as surrogates

    @property
    def start_line(self) -> str:
        raise NotImplementedError

    def get(self, key: str) -> str | None:
        """The value of the first header field named ``key`` (lower case, long form), or None."""
        for name, line in self.headers:
            if name == key:
                return value_of(line)
        return None

    def values(self, key: str) -> list[str]:
        """The values of all header fields named ``key``, in order, lists not yet split."""
        return [value_of(line) for name, line in self.headers if name == key]

    def split_values(self, key: str) -> list[str]:
        """The values of all header fields named ``key``, in order, lists split. Raises ParseError."""
        return [value for line in self.values(key) for value in split_list(line)]

    def to_bytes(self) -> bytes:
        """The message as sent. Bytes that weren't UTF-8 come out as they went in."""
        lines = [self.start_line]
        lines += [line for _, line in self.headers]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + self.body


class Request(Message):
    """``method`` as it came (methods are case-sensitive), ``uri`` unparsed."""

    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str, headers: list[Header], body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri

    @property
    def start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"


class Response(Message):
    """``status`` 100 to 699."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str, headers: list[Header], body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    @property
    def start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"


class MalformedMessage(ParseError):
    """A whole message that can't be used. ``message`` is what could be read of it, so that a bad request can still be
    answered with ``status`` (400 unless the fault has a code of its own). ``unframed``: two parties might differ about
    where it ends."""

    def __init__(self, text: str, message: Message, status: int = 400, unframed: bool = False) -> None:
        super().__init__(text)
        self.message = message
        self.status = status
        self.unframed = unframed


REASONS = {
    100: "Trying",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    430: "Flow Failed",
    440: "Max-Breadth Exceeded",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    487: "Request Terminated",
    489: "Bad Event",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
}


def tagged(line: str) -> bool:
    """Whether a To has a tag, which stands after the URI and not in a display name or another parameter."""
    if '"' in line:
        try:
            params = NameAddr.parse(value_of(line)).params
            return "tag" in parse_params(params)
        except ParseError:
            return False
    params = line[line.rfind(">") + 1 :]
    return "tag" in params.lower() and any(
        part.partition("=")[0].strip().lower() == "tag" for part in params.split(";")[1:]
    )


_COPIED = frozenset(("via", "from", "call-id", "cseq"))
_COPIED_AT_ONCE = _COPIED | {"timestamp"}  # §8.2.6.1


def make_response(
    request: Request, status: int, reason: str = "", to_tag: str = "", headers: Iterable[Header] = (), body: bytes = b""
) -> Response:
    """The response to ``request`` that RFC 3261 §8.2.6 describes: its Via, From, To, Call-ID and CSeq.

    ``to_tag`` is added to a To that has none, except in a 100.
    """
    kept = _COPIED if status != 100 else _COPIED_AT_ONCE
    copied: list[Header] = []
    for header in request.headers:
        key = header[0]
        if key in kept:
            copied.append(header)
        elif key == "to":
            line = header[1]
            if to_tag and status != 100 and not tagged(line):
                line = f"{line};tag={to_tag}"
            copied.append((key, line))
    copied += headers
    copied.append(("content-length", f"Content-Length: {len(body)}"))
    return Response(status, reason or REASONS.get(status, "Unknown"), copied, body)
