"""Telling whoever is rung instead of somebody else that it is so: Diversion (RFC 5806) and History-Info (RFC 7044)."""

from __future__ import annotations

from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, parse_params, split_list, values_of
from edge.sip.incoming import Incoming
from edge.sip.message import Header, Request
from edge.sip.numbers import number_of
from lambdas.contract import OUTCOMES

_REASONS = {
    "busy": "user-busy",
    "no-answer": "no-answer",
    "declined": "deflection",
    "redirected": "deflection",
    "unreachable": "unavailable",
}
_REASON = {0: "unconditional"} | {
    status: _REASONS[outcome] for outcome, statuses in OUTCOMES.items() for status in statuses
}
_MOST = 100


def diversions(incoming: Incoming) -> int:
    """How often the call has been diverted already: the sum of all counters (RFC 5806 §9.1)."""
    found = 0
    for line in incoming.request.values("diversion") if "diversion" in incoming.first else ():
        try:
            for value in split_list(line):
                counter = parse_params(NameAddr.parse(value).params).get("counter", "")
                times = number_of(counter, _MOST)
                found += 1 if times is None else times
        except ParseError:
            found += 1  # somebody diverted it, whoever that was
    return min(found, _MOST)


def divert(request: Request, by: str, outcome: int) -> None:
    """Say that ``by`` (a URI) has ``request`` go where it goes, since it was answered ``outcome`` there (0: without
    being tried)."""
    reason = _REASON.get(outcome, "unknown")
    known = [value for line in request.values("history-info") for value in values_of(line)]
    parent = f"{_index(known[-1])}.1" if known else "1"
    cause = f"?Reason=SIP%3Bcause%3D{outcome}" if outcome else ""
    entries = [*known, f"<{by}{cause}>;index={parent}", f"<{request.uri}>;index={parent}.1;mp={parent}"]
    added: list[Header] = [
        ("diversion", f"Diversion: <{by}>;reason={reason};counter=1"),
        ("history-info", f"History-Info: {', '.join(entries)}"),
    ]
    rest = [header for header in request.headers if header[0] != "history-info"]
    request.headers[:] = [*rest[:1], *added, *rest[1:]]


def _index(entry: str) -> str:
    """Of an entry of ours or others; one without a readable index counts as the first."""
    found = entry.rpartition(">")[2].partition("index=")[2].partition(";")[0].strip()
    return found if found and not found.strip("0123456789.") else "1"
