"""Building what is sent on (RFC 3261 §16.6, §16.7 step 3): header lists are copied, lines are not."""

from __future__ import annotations

from edge.proxy.stack.fleet import Fleet
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import parse_digest, value_of
from edge.sip.message import Header, Request, Response


def forward_request(
    request: Request, uri: str, flow: Flow, branch: str, max_forwards: int, record_routes: list[Header]
) -> Request:
    """A copy of ``request`` for ``flow``: our Via and Record-Route on top, Max-Forwards one lower."""
    headers: list[Header] = [("via", flow.via(branch))]
    headers += record_routes
    headers.append(("max-forwards", f"Max-Forwards: {max_forwards - 1}"))
    headers += [header for header in request.headers if header[0] != "max-forwards"]
    return Request(request.method, uri, headers, request.body)


def drop_private(request: Request, fleet: Fleet) -> None:
    """Take out what must not leave our trust domain: credentials for our realms (§22.3), and identities that a phone
    asserted for itself (RFC 3325 §5)."""
    request.headers = [
        header
        for header in request.headers
        if header[0] != "p-asserted-identity"
        and not (header[0] == "proxy-authorization" and _realm(header[1]) in fleet.domains)
    ]


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
