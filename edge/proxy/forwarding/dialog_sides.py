"""What each end of an answered call would send in its dialog (RFC 3261 §12), noted so that the call can be ended from
outside."""

from __future__ import annotations

from edge.proxy.forwarding.branch import Branch
from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, split_list
from edge.sip.incoming import Incoming
from edge.sip.message import Request, Response
from edge.sip.uri import request_uri
from lambdas.contract import Side

_AHEAD = 65_536
"""How far the CSeq number of a BYE made by us is ahead of the caller's: far enough for every request in between."""
_HIGHEST = 2**31 - 1  # the called side's numbers aren't known; after a BYE nobody needs a higher one (§12.2.1.1)


def sides(incoming: Incoming, answer: Response, branch: Branch, response: Response) -> list[Side]:
    """The caller's and the called side, of a 2xx that came as ``response`` and goes on as ``answer``; none if they
    can't be told."""
    assert branch.transaction is not None
    request = branch.transaction.request
    try:
        return [
            Side(
                uri=_contact(answer),
                routes=list(reversed(_routes(answer))),
                sender=incoming.value("from") or "",
                receiver=answer.get("to") or "",
                call_id=incoming.call_id,
                cseq=min(incoming.cseq + _AHEAD, _HIGHEST),
            ),
            Side(
                uri=_contact(request),
                routes=_routes(request),
                sender=response.get("to") or "",
                receiver=request.get("from") or "",
                call_id=request.get("call-id") or "",
                cseq=_HIGHEST,
            ),
        ]
    except (ParseError, UnicodeError):
        return []


def _contact(message: Request | Response) -> str:
    return _text(request_uri(NameAddr.parse(split_list(message.get("contact") or "")[0]).uri))


def _routes(message: Request | Response) -> list[str]:
    return [_text(value) for value in message.split_values("record-route")]


def _text(value: str) -> str:
    """Octets that aren't UTF-8 can't be stored. Raises UnicodeError."""
    return value.encode().decode()
