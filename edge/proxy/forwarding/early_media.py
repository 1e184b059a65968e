"""Keeping from the caller what a leg plays before it answers: with several of them it would be heard at random."""

from __future__ import annotations

from edge.sip.headers import value_of
from edge.sip.message import Request, Response

_BODY = frozenset(("content-type", "content-disposition", "content-encoding", "content-language"))


def ringing(response: Response) -> Response:
    """A provisional ``response`` without its session description. One that has to be acknowledged (RFC 3262) stays as
    it is: the answer that it carries would be missing later."""
    if not response.body or response.get("rseq") is not None:
        return response
    headers = [header for header in response.headers if header[0] not in _BODY and header[0] != "content-length"]
    headers.append(("content-length", "Content-Length: 0"))
    return Response(180, "Ringing", headers)


def unreliable(request: Request) -> None:
    """Ask for provisional responses that needn't be acknowledged, unless the caller insists on them."""
    for index, (key, line) in enumerate(request.headers):
        if key == "supported" and "100rel" in line.lower():
            tags = [tag.strip() for tag in value_of(line).split(",")]
            request.headers[index] = (key, f"Supported: {', '.join(tag for tag in tags if tag.lower() != '100rel')}")
