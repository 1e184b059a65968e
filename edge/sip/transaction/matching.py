"""Which transaction a message belongs to."""

from __future__ import annotations

from edge.sip.headers import Via
from edge.sip.message import Request

BRANCH_COOKIE = "z9hG4bK"


def server_key(request: Request, via: Via, method: str) -> tuple[str, ...]:
    """The key of ``request``'s server transaction (§17.2.3); ``method`` is INVITE for an ACK, and for a CANCEL the
    method it wants to end.

    A branch without the magic cookie comes from an RFC 2543 element and is not unique; then Call-ID, CSeq number,
    From and the whole top Via identify the request.
    """
    branch = via.branch
    if branch.startswith(BRANCH_COOKIE) and len(branch) > len(BRANCH_COOKIE):
        return (branch, f"{via.host}:{via.port}", method)
    number = (request.get("cseq") or "0").split(None, 1)[0].lstrip("0")
    return (branch, f"{via.host}:{via.port}", method, request.get("call-id") or "", number, request.get("from") or "")
