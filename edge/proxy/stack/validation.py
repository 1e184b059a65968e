"""RFC 3261 §16.3: what a request must have before anything is done for it."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass

from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, Via, parse_cseq, split_list
from edge.sip.message import Header, Request
from edge.sip.transaction import BRANCH_COOKIE
from edge.sip.uri import Uri

MAX_FORWARDS = 70
MAX_USER = 256  # characters
MAX_LINE = 4096
EXTENSIONS = frozenset(("path", "outbound"))  # option tags that a Require to us may name


class Fault(Exception):
    """The request is to be answered with ``status``, ``reason`` and ``headers``."""

    def __init__(self, status: int, reason: str = "", headers: tuple[Header, ...] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers


@dataclass(slots=True)
class Incoming:
    """A request that passed, with the parts that everybody reads. ``to_tag`` is "" outside a dialog; ``mark``
    stands for where it was to go when it came, ``first`` has the first line of each header field;
    ``forwarded`` tells that it has passed other proxies."""

    flow: Flow
    request: Request
    uri: Uri
    call_id: str
    cseq: int
    to: NameAddr
    to_tag: str
    max_forwards: int
    mark: str
    first: dict[str, str]
    forwarded: bool

    def value(self, key: str) -> str | None:
        """The value of the first header field named ``key``, as the request came."""
        line = self.first.get(key)
        return None if line is None else _value(line)

    def from_uri(self) -> Uri:
        try:
            return _address(NameAddr.parse(_value(self.first["from"])))
        except ParseError as error:
            raise Fault(400, f"Bad Request: {error}") from error

    def to_uri(self) -> Uri:
        return _address(self.to)  # Uri.parse remembers, so asking again costs nothing


def _address(value: NameAddr) -> Uri:
    try:
        return Uri.parse(value.uri)
    except ParseError as error:
        raise Fault(400, f"Bad Request: {error}") from error


def top_via(request: Request) -> tuple[Via, str, str]:
    """The top Via parsed, its text, and the rest of its header field if it is a list. Raises ParseError."""
    value = request.get("via")
    if value is None:
        raise ParseError("no Via")
    if "," in value:
        first, _, rest = value.partition(",")
        if '"' in first:  # a comma in a quoted parameter
            parts = split_list(value)
            first, rest = parts[0], ", ".join(parts[1:])
        first, rest = first.rstrip(), rest.strip()
    else:
        first, rest = value, ""
    return Via.parse(first), first, rest


def note_source(request: Request, via: Via, text: str, rest: str, flow: Flow) -> None:
    """Write into the top Via where the request came from: ``received`` (§18.2.1) and ``rport`` (RFC 3581 §4)."""
    asked = via.params.get("rport") == ""
    if not asked and via.host == flow.host and "received" not in via.params:
        return
    if "received" in via.params:
        text = ";".join(part for part in text.split(";") if not part.strip().lower().startswith("received="))
    if asked:
        text = ";".join(
            f"rport={flow.remote_port}" if part.strip().lower() in ("rport", "rport=") else part
            for part in text.split(";")
        )
    line = f"Via: {text};received={flow.host}"
    for index, (key, _) in enumerate(request.headers):
        if key == "via":
            request.headers[index : index + 1] = [("via", line), ("via", f"Via: {rest}")] if rest else [("via", line)]
            return


def examine(flow: Flow, request: Request) -> Incoming:
    """Check ``request``; raises Fault with the response that §16.3 or §8.2 asks for."""
    first: dict[str, str] = {}
    forwarded = False
    for key, line in request.headers:
        if key not in first:
            first[key] = line
        elif key == "via":
            forwarded = True
        elif key in _SINGLE:
            raise Fault(400, f"Bad Request: more than one {key}")
    try:
        call_id = _value(first["call-id"])
        cseq, method = parse_cseq(_value(first["cseq"]))
        to = NameAddr.parse(_value(first["to"]))
        to_tag = to.tag
        uri = Uri.parse(request.uri)
        first["from"]
    except KeyError as error:
        raise Fault(400, f"Bad Request: no {error.args[0]}") from error
    except ParseError as error:
        raise Fault(400, f"Bad Request: {error}") from error
    if method != request.method:
        raise Fault(400, "Bad Request: CSeq names another method")
    if not call_id:
        raise Fault(400, "Bad Request: empty call-id")
    if uri.scheme not in ("sip", "sips"):
        raise Fault(416)
    max_forwards = _max_forwards(first.get("max-forwards"))
    if not max_forwards and request.method != "REGISTER":
        raise Fault(483)
    if "require" in first or "proxy-require" in first:
        _check_extensions(request)
    mark = _mark(request, "route" in first)
    return Incoming(flow, request, uri, call_id, cseq, to, to_tag, max_forwards, mark, first, forwarded)


_SINGLE = frozenset(("from", "to", "call-id", "cseq", "max-forwards"))


def check_text(request: Request, *uris: Uri) -> None:
    """What goes into a question must be text, and no longer than any name of ours. Raises Fault."""
    if not request.utf8:
        raise Fault(400, "Bad Request: the headers are not UTF-8")
    if any(len(uri.user) > MAX_USER for uri in uris) or any(len(line) > MAX_LINE for _, line in request.headers):
        raise Fault(400, "Bad Request: a name or a header field is too long")


def _check_extensions(request: Request) -> None:
    """§16.3 step 5, and §8.2.2.3 for the requests that end here."""
    ends_here = request.method == "REGISTER"
    for key, line in request.headers:
        if key == "proxy-require" or (ends_here and key == "require"):
            tags = {tag.strip().lower() for tag in line[line.index(":") + 1 :].split(",")}
            unknown = sorted(tags - EXTENSIONS if ends_here else tags)
            if unknown:
                raise Fault(420, "", (("unsupported", f"Unsupported: {', '.join(unknown)}"),))


def _max_forwards(line: str | None) -> int:
    if line is None:
        return MAX_FORWARDS
    text = _value(line)
    if not (text.isascii() and text.isdecimal()) or len(text) > 3 or int(text) > 255:
        raise Fault(400, "Bad Request: bad Max-Forwards")
    return int(text)


def _mark(request: Request, routed: bool) -> str:
    """What of a request decides where it goes, short enough for a branch: RFC 5393 §4.2 demands a loop check of
    everybody who forks."""
    deciding = request.uri
    if routed:
        deciding += "".join(line for key, line in request.headers if key == "route")
    return f"{zlib.crc32(deciding.encode('utf-8', 'surrogateescape')):08x}"


def _value(line: str) -> str:
    return line[line.index(":") + 1 :].strip()


def check_loop(incoming: Incoming, addresses: Collection[str]) -> None:
    """§16.3 step 4: a Via of ours with the same mark means that the request came back unchanged."""
    mark = incoming.mark
    if not incoming.forwarded:
        return
    for value in incoming.request.values("via"):
        for text in value.split(","):
            if BRANCH_COOKIE in text and text.find(f"-{mark}") > 0:
                try:
                    via = Via.parse(text)
                except ParseError:
                    continue  # somebody else's, and theirs to mind
                if via.host in addresses and via.branch.endswith(f"-{mark}"):
                    raise Fault(482)
