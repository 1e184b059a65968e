"""The control plane gone, slow and back again, as phones see it through a real edge."""

from __future__ import annotations

import time

import pytest

from scripts.fleet_parts import DOMAIN, SIP, Host
from scripts.processes import wait_for
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.pace import slowness
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.integration


@pytest.fixture
def own_fleet(tmp_path):
    """A fleet that this test may break."""
    made = loopback_fleet(tmp_path, fresh_base(), 2)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def phone(fleet, user, index, transport="UDP"):
    edge = fleet.edges[index]
    return SocketPhone(fleet.accounts[user], DOMAIN, Host(edge.host.address), (edge.host.address, SIP), transport)


def test_without_control_plane_known_phones_go_on_and_strangers_get_503(own_fleet):
    fleet = own_fleet
    today = time.strftime("%Y-%m-%d", time.gmtime())
    with (
        phone(fleet, "alice", 0) as alice,
        phone(fleet, "bob", 1, "TCP") as bob,
        phone(fleet, "dave", 0) as dave,
        phone(fleet, "carol", 1) as carol,
    ):
        for known in (alice, bob, dave):
            assert known.register() == 200
        dialog, other = call(alice, bob, f"sip:bob@{DOMAIN}")
        tenant = fleet.client.api("GET", f"/v1/accounts/carol@{DOMAIN}")["tenant"]
        plan = {"rules": [{"name": "away", "ring": {"legs": [{"account": f"dave@{DOMAIN}"}]}}]}
        fleet.client.api("POST", f"/v1/plans/away/versions?tenant={tenant}", {"plan": plan, "publish": True})
        fleet.client.api("PATCH", f"/v1/accounts/carol@{DOMAIN}", {"plan": "away"})
        call(alice, dave, f"sip:carol@{DOMAIN}")
        fleet.processes.stop("control")
        begun = time.monotonic()
        response = carol.transact(carol.agent.register_request())
        assert response.status == 503
        assert 5 <= int(response.get("retry-after")) <= 20
        assert time.monotonic() - begun < 1 * slowness()
        call(alice, bob, f"sip:bob@{DOMAIN}")  # on the other edge
        call(alice, dave, f"sip:dave@{DOMAIN}")
        call(alice, dave, f"sip:carol@{DOMAIN}")  # by her plan
        in_dialog(bob, other, "INVITE", alice)
        in_dialog(alice, dialog, "BYE", bob)
        for known in (alice, bob, dave):
            assert known.register() == 200
        # Killed and started in the dark, an edge goes on with what its disk has.
        time.sleep(2.2)  # what changed is written every second
        fleet.processes.kill("edge-a")
        fleet.start_edge(fleet.edges[0])
        fleet.wait_ready(fleet.edges[0])
        call(bob, dave, f"sip:dave@{DOMAIN}")  # nobody has registered since
        for known in (alice, dave):
            assert known.register() == 200
        dialog, other = call(alice, bob, f"sip:bob@{DOMAIN}")
        call(bob, dave, f"sip:dave@{DOMAIN}")
        call(alice, dave, f"sip:carol@{DOMAIN}")  # by her plan, from the disk
        in_dialog(bob, other, "BYE", alice)
        assert fleet.client.health(fleet.edges[0])["journal"] >= 2
        fleet.start_control()
        begun = time.monotonic()
        while carol.register() != 200:
            assert time.monotonic() - begun < 10 * slowness()
        fleet.client.api("PATCH", f"/v1/accounts/carol@{DOMAIN}", {"plan": ""})
        call(alice, carol, f"sip:carol@{DOMAIN}")
        calls = fleet.client.wait_for_calls(tenant, today, 10, ended=2)
        assert sum(item["ended"] is not None for item in calls) == 2
        assert {item["caller"] for item in calls} == {f"alice@{DOMAIN}", f"bob@{DOMAIN}"}


def test_what_is_changed_is_refused_within_ten_seconds_at_every_edge(own_fleet):
    fleet = own_fleet
    with phone(fleet, "alice", 0) as alice, phone(fleet, "bob", 1) as bob, phone(fleet, "carol", 1) as carol:
        for one in (alice, bob, carol):
            assert one.register() == 200
            assert one.register() == 200
        assert fleet.client.events(fleet.edges[1])["refreshes"] == 2
        fleet.client.api("POST", f"/v1/accounts/alice@{DOMAIN}/password", {})
        fleet.client.api("PATCH", f"/v1/accounts/bob@{DOMAIN}", {"enabled": False})
        fleet.client.api("DELETE", f"/v1/accounts/carol@{DOMAIN}")
        begun = time.monotonic()
        for one in (alice, bob, carol):
            while one.register() != 403:
                assert time.monotonic() - begun < 10 * slowness()
        assert fleet.client.request("GET", f"/v1/accounts/bob@{DOMAIN}/bindings")[1] != []  # disabled, not removed


def test_a_phone_that_goes_missing_is_unregistered(own_fleet):
    fleet = own_fleet
    with phone(fleet, "alice", 0) as alice:
        assert alice.transact(alice.agent.register_request(60)).status == 200
        assert fleet.client.api("GET", f"/v1/accounts/alice@{DOMAIN}/bindings")
    wait_for(
        "alice's binding to go",
        lambda: fleet.client.api("GET", f"/v1/accounts/alice@{DOMAIN}/bindings") == [],
        60 + 20 + 10 + 5,
    )


def test_a_control_plane_that_hangs_gives_503_within_5_s_and_then_at_once(own_fleet):
    import os
    import signal

    fleet = own_fleet
    with phone(fleet, "alice", 0) as alice:
        os.kill(fleet.processes.pid("control"), signal.SIGSTOP)
        try:
            begun = time.monotonic()
            assert alice.transact(alice.agent.register_request()).status == 503
            assert time.monotonic() - begun < 5 * slowness()
            begun = time.monotonic()
            assert alice.transact(alice.agent.register_request()).status == 503
            assert time.monotonic() - begun < 0.5 * slowness()  # the circuit breaker
        finally:
            os.kill(fleet.processes.pid("control"), signal.SIGCONT)


def test_two_edges_race_with_one_binding(own_fleet):
    """The same phone, Call-ID and Contact at both edges at once, again and again: the highest CSeq stands."""
    import threading

    fleet = own_fleet
    with phone(fleet, "carol", 0) as one, phone(fleet, "carol", 1) as two:
        two.agent.call_id = one.agent.call_id
        contact = "<sip:carol@192.0.2.55:5060>"
        for turn in range(15):
            statuses = []
            for agent, cseq in ((one.agent, 100 * turn + 10), (two.agent, 100 * turn + 20)):
                agent.register_cseq = cseq

            def register(which):
                request = which.agent.register_request(contact=contact)
                statuses.append(which.transact(request).status)

            threads = [threading.Thread(target=register, args=(which,)) for which in (one, two)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(statuses) in ([200, 200], [200, 500]), statuses
            bindings = fleet.client.api("GET", f"/v1/accounts/carol@{DOMAIN}/bindings")
            assert [item["edge_address"] for item in bindings] == [fleet.edges[1].host.address]


def test_a_good_message_before_a_bad_one_is_answered_on_a_stream(own_fleet):
    """The stream goes on as long as it is clear where the bad one ends."""
    fleet = own_fleet
    with phone(fleet, "alice", 0, "TCP") as alice:
        for written, bad_header in (
            (b"Max-Forwards", b"broken line\r\nMax-Forwards"),
            (b"Content-Length: 0", b"Content-Length: none"),
        ):
            good, bad = (alice.agent.request("OPTIONS", f"sip:{DOMAIN}") for _ in range(2))
            alice.send(good.to_bytes() + bad.to_bytes().replace(written, bad_header))
            assert alice.wait(lambda good=good: alice.agent.final(good)).status == 200
            assert alice.wait(lambda bad=bad: alice.agent.final(bad)).status == 400
        begun = time.monotonic()
        with pytest.raises(ConnectionError):
            alice.wait(lambda: None)
        assert time.monotonic() - begun < 3 * slowness()  # not since it has proven nothing


def test_an_edge_without_its_lease_says_so(own_fleet):
    """A second process with the same address is refused by the control plane, and tells its operator."""
    fleet = own_fleet
    first, second = fleet.edges
    body = {"id": "edge-z", "public_key": "", "addresses": [first.host.address]}
    from edge.control.identity import Identity
    from scripts.fleet_parts import DevelopmentEdge

    key = fleet.directory / "edge-z.key"
    body["public_key"] = Identity.load_or_make("edge-z", key).public_key
    fleet.client.api("POST", "/v1/edges", body)
    place = Host(second.host.address.rpartition(".")[0] + ".77")
    listen = [f"udp://{place.address}:{SIP}"]
    intruder = DevelopmentEdge("edge-z", place, {"address": first.host.address, "listen": listen})
    fleet.start_edge(intruder)
    fleet.processes.wait_until(
        "edge-z", lambda: f"{first.host.address} is held by edge edge-a" in fleet.processes.last_words("edge-z")
    )
    assert fleet.client.health(intruder)["ready"] is False
