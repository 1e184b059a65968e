"""How many requests to DynamoDB each decision, report and heartbeat takes: nobody adds one unseen."""

from __future__ import annotations

from collections import Counter

import pytest

from scripts.fleet_parts import CONTROL, DOMAIN, Host, PhoneAccount
from scripts.tally import Tally
from tests.support.asking_edge import AskingEdge, hung_up

pytestmark = pytest.mark.integration

_TRIES = 6  # what the process remembers for a second or more is read again in some of them, never in all


@pytest.fixture(scope="module")
def tables(fleet):
    made = Tally(fleet.control.address, fleet.endpoint)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def edge(fleet, tables):
    host = Host(f"{fleet.control.address.rpartition('.')[0]}.60")
    fleet.start_control_at("counted", host, tables.url, {})
    with AskingEdge(fleet, "asking", f"http://{host.address}:{CONTROL}") as made:
        made.heartbeat()
        yield made
    fleet.processes.stop("counted")
    fleet.client.api("DELETE", "/v1/edges/asking")


@pytest.fixture(scope="module")
def accounts(fleet, edge):
    """Two that no other test calls: there is nobody at that edge."""
    made = []
    for user in ("counted-a", "counted-b"):
        one = fleet.client.api("POST", "/v1/accounts", {"username": user, "domain": DOMAIN})
        made.append(PhoneAccount(one["aor"], one["username"], one["password"]))
        edge.register(made[-1])
    yield made
    for one in made:
        fleet.client.api("DELETE", f"/v1/accounts/{one.aor}")


def least(tables, do):
    """Of several times, what the fewest requests were, by operation."""
    found = []
    for _ in range(_TRIES):
        tables.take()
        do()
        found.append(Counter({name: count for name, count in tables.take().items() if not name.startswith("/")}))
    return dict(min(found, key=lambda counts: counts.total()))


def test_a_register(accounts, edge, tables):
    """The lease, the account with its tenant, its bindings, and the one that has changed."""
    counts = least(tables, lambda: edge.register(accounts[0]))
    assert counts == {"GetItem": 1, "BatchGetItem": 1, "Query": 1, "PutItem": 1}


def test_a_call(accounts, edge, tables):
    calls = []
    # The two accounts with their tenant, and where the called one is.
    counts = least(tables, lambda: calls.append(edge.invite(*accounts)))
    assert counts == {"BatchGetItem": 1, "Query": 1}
    # The record, what ending it takes, and who may have been suspended or have ended it meanwhile.
    told = iter(calls)
    assert least(tables, lambda: edge.report(next(told))) == {"PutItem": 2, "BatchGetItem": 1}
    told = iter(calls)
    assert least(tables, lambda: edge.report(hung_up(next(told)))) == {"PutItem": 1, "DeleteItem": 1}


def test_a_call_that_is_counted(fleet, accounts, edge, tables):
    """What its account uses, a slot and the count; with the answer the slot, with the end the slot again."""
    account = f"/v1/accounts/{accounts[0].aor}"
    fleet.client.api("PATCH", account, {"limits": {"concurrent_calls": 100}})
    try:
        calls = []
        counts = least(tables, lambda: calls.append(edge.invite(*accounts)))
        assert counts == {"BatchGetItem": 1, "Query": 2, "PutItem": 1, "UpdateItem": 1}
        told = iter(calls)
        counts = least(tables, lambda: edge.report(next(told)))
        assert counts == {"PutItem": 2, "BatchGetItem": 2, "UpdateItem": 1}
        told = iter(calls)
        counts = least(tables, lambda: edge.report(hung_up(next(told))))
        assert counts == {"PutItem": 1, "GetItem": 1, "DeleteItem": 3, "BatchGetItem": 1}
    finally:
        fleet.client.api("PATCH", account, {"limits": {"concurrent_calls": None}})


def test_a_heartbeat(edge, tables):
    """The lease renewed, all leases, changes of bindings, and calls that should be over."""
    assert least(tables, edge.heartbeat) == {"UpdateItem": 1, "BatchGetItem": 1, "Query": 2}
