"""How a call's items are named: ``tenant#day`` and ``start#call#what``, so that a query gives a day's calls by start,
and the items of each side by side."""

from __future__ import annotations

import time

from lambdas.contract import CallName, CallOutline

CallKey = tuple[str, str]
ANSWERED, ENDED, FAILED, OPEN = "answered", "ended", "failed", "open"
"""In the order in which a query gives them."""


def key_of(call: CallName, what: str) -> CallKey:
    """Of one of the call's items."""
    return partition(call.tenant, call.started), sort(call.started, call.call, what)


def name_of(key: CallKey) -> CallName:
    """Whose item it is."""
    pk, sk = key
    started, call, _ = sk.split("#")
    return CallName(tenant=pk.rpartition("#")[0], call=call, started=int(started))


def partition(tenant: str, started: int) -> str:
    return f"{tenant}#{time.strftime('%Y-%m-%d', time.gmtime(started))}"


def sort(started: int, call: str, what: str) -> str:
    return f"{started:010d}#{call}#{what}"


def attempt_of(report: CallOutline) -> str:
    """What the call's slots are named by. Edges of before had no name of their own for an INVITE."""
    return report.attempt or report.call_id
