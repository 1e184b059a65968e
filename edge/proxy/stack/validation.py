"""RFC 3261 §16.3: what a request must have before anything is done for it."""

from __future__ import annotations

import zlib

from edge.proxy.stack.abilities import EXTENSIONS
from edge.proxy.stack.fleet import Fleet
from edge.sip import privacy
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, Via, parse_cseq, split_list, value_of
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Request
from edge.sip.numbers import number_of
from edge.sip.transaction import BRANCH_COOKIE
from edge.sip.uri import DEFAULT_PORT, Uri, as_written, host_in_uri

MAX_FORWARDS = 70
_HIGHEST_HOPS = 255  # §20.22
MAX_USER = 256  # characters
MAX_LINE = 4096


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
    if not asked and _names(via, flow) and "received" not in via.params:
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


def _names(via: Via, flow: Flow) -> bool:
    """Whether a Via has the address that its packets come from."""
    host = host_in_uri(flow.host)
    return via.host == host or (via.host.startswith("[") and as_written(via.host) == host)


def reached_by(source: Flow, via: Via) -> Flow:
    """How the sender of a request that came by ``source`` is reached (§18.2.2): over UDP at the port that its Via has,
    which needn't be the one that it sends from, unless it asks for that (RFC 3581).

    Two departures. Whoever names another address than his packets have is behind a NAT, which lets nothing in at the
    port that he names: he is answered where he sends from. And ``maddr`` is no address to send to: anybody could have
    a third party flooded."""
    if source.transport != "udp" or "rport" in via.params or not _names(via, source):
        return source
    reached = source._replace(remote_port=via.port or DEFAULT_PORT)
    return source if reached.internal else reached  # nobody passes for ourselves by naming our port


def examine(
    flow: Flow, request: Request, key: tuple[str, ...], octets: int = 0, source: Flow | None = None
) -> Incoming:
    """Check ``request``, which came in ``octets`` by ``source`` (``flow`` unless given); raises Fault with the response
    that §16.3 or §8.2 asks for. ``key`` is that of its server transaction."""
    first: dict[str, str] = {}
    forwarded = False
    for name, line in request.headers:
        if name not in first:
            first[name] = line
        elif name == "via":
            forwarded = True
        elif name in _SINGLE:
            raise Fault(400, f"Bad Request: more than one {name}")
        elif name == "privacy":
            first[name] = privacy.with_more(first[name], line)
    try:
        call_id = value_of(first["call-id"])
        cseq, method = parse_cseq(value_of(first["cseq"]))
        to = NameAddr.parse(value_of(first["to"]))
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
    if uri.scheme not in ("sip", "sips", "tel"):
        raise Fault(416)
    if uri.scheme == "sips":
        check_secure(flow)
    if uri.headers:
        raise Fault(400, "Bad Request: a Request-URI has no header fields")  # §19.1.1
    max_forwards = _max_forwards(first.get("max-forwards"))
    if forwarded:
        _check_vias(request)
    if "proxy-require" in first and method not in _UNREFUSED:
        _check_tags(request, "proxy-require", frozenset())  # §16.3 step 5
    mark = _mark(request, "route" in first)
    source = flow if source is None else source
    return Incoming(
        flow, source, request, key, uri, call_id, cseq, to, to_tag, max_forwards, mark, first, forwarded, octets,
        uri.scheme == "sips",
    )  # fmt: skip


def check_secure(flow: Flow) -> None:
    """``sips:`` is a promise that nobody could keep any more where it comes in the clear (§26.2.2, RFC 5630 §3.1.3).
    Raises Fault."""
    if not (flow.secure or flow.internal):
        raise Fault(416)


_SINGLE = frozenset(("from", "to", "call-id", "cseq", "max-forwards"))
_UNREFUSED = frozenset(("ACK", "CANCEL"))  # §8.2.2.3: an extension is nothing to refuse these for
_ASKED_WITH = frozenset(("call-id", "authorization", "proxy-authorization"))


def check_hops(incoming: Incoming) -> None:
    """§16.3 step 3, for what is to be forwarded. Raises Fault."""
    if not incoming.max_forwards:
        raise Fault(483)


def check_required(request: Request) -> None:
    """§8.2.2.3, for what ends here. Raises Fault."""
    _check_tags(request, "require", EXTENSIONS)


def check_text(incoming: Incoming, *uris: Uri) -> None:
    """What goes into a question must be text, and no longer than any name of ours; other values pass unread. Raises
    Fault."""
    request = incoming.request
    if any(len(uri.user) > MAX_USER for uri in uris):
        raise Fault(400, "Bad Request: a name is too long")
    if request.utf8 and incoming.octets <= MAX_LINE:
        return
    asked_with = [line for key, line in request.headers if key in _ASKED_WITH]
    if any(len(line) > MAX_LINE for line in asked_with):
        raise Fault(400, "Bad Request: a header field is too long")
    try:
        for text in (request.method, incoming.from_tag, incoming.to_tag, *asked_with, *[uri.user for uri in uris]):
            text.encode()
    except UnicodeError as error:
        raise Fault(400, "Bad Request: what names somebody, a call or a dialog is not UTF-8") from error


def _check_tags(request: Request, key: str, known: frozenset[str]) -> None:
    """The option tags of a header field; 420 names those that aren't known here."""
    tags = {tag.strip().lower() for value in request.values(key) for tag in value.split(",")}
    unknown = sorted(tags - known - {""})
    if unknown:
        raise Fault(420, "", (("unsupported", f"Unsupported: {', '.join(unknown)}"),))


def _check_vias(request: Request) -> None:
    """What stands between two commas is a Via, whatever it says; nothing is none. Others' are theirs to mind."""
    for value in request.values("via"):
        if "," in value and not all(part.strip("; \t") for part in value.split(",")):
            raise Fault(400, "Bad Request: an empty Via")


def _max_forwards(line: str | None) -> int:
    if line is None:
        return MAX_FORWARDS
    hops = number_of(value_of(line), _HIGHEST_HOPS)
    if hops is None:
        raise Fault(400, "Bad Request: bad Max-Forwards")
    return hops


def _mark(request: Request, routed: bool) -> str:
    """What of a request decides where it goes, short enough for a branch: RFC 5393 §4.2 demands a loop check of
    everybody who forks."""
    deciding = request.uri
    if routed:
        deciding += "".join(line for key, line in request.headers if key == "route")
    return f"{zlib.crc32(deciding.encode('utf-8', 'surrogateescape')):08x}"


def check_loop(incoming: Incoming, fleet: Fleet) -> None:
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
                if fleet.address_at(via.host) and via.branch.endswith(f"-{mark}"):
                    raise Fault(482)
