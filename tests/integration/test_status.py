"""Edges try each other out, all the way, and the status page shows it."""

from __future__ import annotations

import json
import os
import signal
import urllib.request

import pytest

from scripts.processes import wait_for
from tests.support.fleets import fresh_base, loopback_fleet

pytestmark = pytest.mark.integration


@pytest.fixture
def fleet(tmp_path):
    made = loopback_fleet(tmp_path, fresh_base(), 3, environment={"PROBE_SECONDS": "1"})
    try:
        made.start()
        yield made
    finally:
        made.stop()


def fetched(fleet, path):
    with urllib.request.urlopen(fleet.api_url + path) as reply:
        return reply.read().decode(), reply.headers


def test_edges_are_tried_out_and_a_dead_one_is_an_incident(fleet):
    places = {edge.host.address for edge in fleet.edges}

    def figures():
        state = json.loads(fetched(fleet, "/status.json")[0])
        found = state["spans"]["Last 3 hours"]
        return state if {bucket["address"] for bucket in found if bucket["good"] >= 2} == places else None

    state = wait_for("all edges to be measured", figures, 60)
    for bucket in state["spans"]["Last 3 hours"]:
        assert 0 < bucket["register"] < 5
        assert 0 < bucket["call"] < 5
        assert bucket["region"] == "us-east-1"  # MiniStack's
    assert not state["incidents"]
    text, headers = fetched(fleet, "/status")
    assert "All edges work" in text
    assert all(f"{place} (us-east-1)" in text for place in places)
    assert (headers["content-type"], headers["cache-control"]) == ("text/html; charset=utf-8", "public, max-age=10")
    # Nobody else's business: neither among calls nor as accounts of a tenant.
    tenants = [tenant["id"] for tenant in fleet.client.api("GET", "/v1/tenants")["items"]]
    assert all(
        not one["aor"].startswith("probe-")
        for name in tenants
        for one in fleet.client.api("GET", f"/v1/accounts?tenant={name}")["items"]
    )

    dead = fleet.edges[1]
    # Stopped, it holds its address for a lease and answers nobody: time enough for each of the others to try it once.
    os.kill(fleet.processes.pid(dead.id), signal.SIGSTOP)
    try:
        wait_for(
            "the incident",
            lambda: [
                one
                for one in json.loads(fetched(fleet, "/status.json")[0])["incidents"]
                if one["address"] == dead.host.address
            ],
            60,
        )
    finally:
        os.kill(fleet.processes.pid(dead.id), signal.SIGCONT)
    assert f"trouble at {dead.host.address}" in fetched(fleet, "/status")[0]
