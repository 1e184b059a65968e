"""Building what is sent on (RFC 3261 §16.6, §16.7 step 3): header lists are copied, lines are not."""

from __future__ import annotations

from edge.proxy.stack.fleet import Fleet
from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, parse_digest, split_list, value_of
from edge.sip.message import Header, Request, Response
from edge.sip.uri import without_params


def forward_request(request: Request, uri: str, via: str, max_forwards: int, record_routes: list[Header]) -> Request:
    """A copy of ``request`` with our ``via`` line and Record-Route on top, Max-Forwards one lower."""
    headers: list[Header] = [("via", via)]
    headers += record_routes
    headers.append(("max-forwards", f"Max-Forwards: {max_forwards - 1}"))
    headers += [header for header in request.headers if header[0] != "max-forwards"]
    return Request(request.method, uri, headers, request.body)


_ANSWER_MODES = frozenset(("answer-mode", "priv-answer-mode"))
CLAIMS = _ANSWER_MODES | {"p-asserted-identity", "p-preferred-identity", "remote-party-id"}
"""Who a phone says that it is, which is ours to say (RFC 3325 §5), and that others' phones shall answer by themselves,
which takes an authority that nobody has here (RFC 5373 §7)."""
_COMMANDS = {
    "alert-info": ("auto-answer", "autoanswer", "auto answer", "ring-answer", "intercom"),
    "call-info": ("answer-after",),
}
"""The same in the words of phones' makers: header fields that are taken out if they say so."""
PRIVATE = frozenset((*CLAIMS, *_COMMANDS, "proxy-authorization"))
"""Header fields that ``drop_private`` looks at."""

_PUSH = frozenset(("pn-provider", "pn-prid", "pn-param"))


def drop_private(request: Request, fleet: Fleet) -> None:
    """Take out what must not leave our trust domain: credentials for our realms (§22.3), and what a phone claims."""
    request.headers = [header for header in request.headers if not _private(header, fleet)]


def drop_commands(request: Request) -> None:
    """Take out what has phones answer by themselves: whoever calls by a provider has no authority for that either."""
    request.headers = [header for header in request.headers if not _commands(header)]


def drop_routes(request: Request) -> None:
    """Take out the way that a provider's request has come: to providers we are a user agent, where a Route ends; some
    leave their own in it."""
    request.headers = [header for header in request.headers if header[0] != "route"]


def conceal_push(headers: list[Header]) -> list[Header]:
    """``headers`` whose Contact doesn't say how its phone is woken. That is for its registrar alone (RFC 8599 §4.1,
    §13), but some phones have one Contact for everything. ``pn-purr`` is meant for peers, and stays (§6.1.1)."""
    for key, line in headers:
        if key == "contact" and ";pn-" in line.lower():
            return [(name, _concealed(said)) if name == "contact" else (name, said) for name, said in headers]
    return headers


def _concealed(line: str) -> str:
    try:
        for value in split_list(value_of(line)):
            uri = NameAddr.parse(value).uri
            line = line.replace(uri, without_params(uri, _PUSH))
    except ParseError:
        pass  # it can't be used, and nobody is woken by it
    return line


def _private(header: Header, fleet: Fleet) -> bool:
    key, line = header
    if key == "proxy-authorization":
        return _realm(line) in fleet.domains
    return key in CLAIMS or _commands(header)


def _commands(header: Header) -> bool:
    key, line = header
    said = line.lower()
    return key in _ANSWER_MODES or any(command in said for command in _COMMANDS.get(key, ()))


def _realm(line: str) -> str | None:
    try:
        params = parse_digest(value_of(line))
    except ParseError:
        return None  # somebody else's, and theirs to refuse
    return params.get("realm") if params else None


def backward_response(response: Response) -> Response:
    """``response`` without its top Via, which is ours."""
    headers = list(response.headers)
    for index, (key, line) in enumerate(headers):
        if key == "via":
            rest = line.partition(",")[2].strip()  # ours has neither commas nor quotes
            headers[index : index + 1] = [("via", f"Via: {rest}")] if rest else []
            break
    return Response(response.status, response.reason, headers, response.body)
