"""Route: what of it is ours (RFC 3261 §16.4), who else's is refused, and strict routers as the next hop (§16.6 step 6)."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from edge.config import Config
from edge.proxy.stack.fleet import NOTHING_KNOWN
from edge.proxy.stack.own_places import OwnPlaces
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr
from edge.sip.strict_routing import next_hop
from edge.sip.uri import Uri
from tests.scenarios.test_calls import answered_call
from tests.scenarios.test_crossings import ask, first
from tests.scenarios.test_provider_calls import acknowledged, arrives, call_in, dial, number_of
from tests.support.agent import SDP
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import DOMAIN

STRICT = "sip:198.51.100.1:5060"


@pytest.fixture
def pair(world):
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    assert alice.register() == bob.register() == 200
    return alice, bob


@pytest.mark.parametrize(
    "route",
    [
        "<sip:192.0.2.99;lr>",
        "<sip:203.0.113.11:5099;lr>",
        "<sip:proxy.elsewhere.example;lr>",
        f"<sip:{DOMAIN}:5099;lr>",
        "<sip:203.0.113.11;lr>, <sip:192.0.2.99;lr>",
        "<tel:+442079460000>",
    ],
)
@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "REGISTER", "OPTIONS"])
def test_a_route_to_somebody_else_is_refused_and_nothing_passes_it(world, pair, method, route):
    alice, bob = pair
    uri = f"sip:{DOMAIN}" if method == "REGISTER" else f"sip:bob@{DOMAIN}"
    request = alice.agent.request(method, uri, headers=[f"Route: {route}", f"Contact: {alice.agent.contact}"])
    alice.send(request.to_bytes())
    final = world.wait(lambda: alice.agent.final(request))
    assert final.status == 403
    assert "Route" in final.reason
    world.run(1)
    assert not bob.agent.requests(method)


@pytest.mark.parametrize(
    "route",
    [
        "<sip:203.0.113.11;lr>",
        "<sip:203.0.113.12:5060;lr;transport=udp>",
        f"<sip:{DOMAIN};lr>",
        f"<sip:EDGE-A.{DOMAIN}:5060;lr>",
        f"<sip:edge-a.{DOMAIN}.;lr>",
        "<sip:anything@203.0.113.11;lr>",
        f"<sip:edge-b.{DOMAIN}>, <sip:203.0.113.11;lr>",
    ],
)
def test_what_leads_to_the_fleet_is_taken_off(world, pair, route):
    alice, bob = pair
    ask(world, alice, alice.agent.request("MESSAGE", f"sip:bob@{DOMAIN}", headers=[f"Route: {route}"]))
    assert first(world, bob, "MESSAGE").get("route") is None


@pytest.mark.parametrize(
    ("place", "ours"),
    [
        ("edge-a.operator.example", True),
        ("Edge-A.operator.example.:5061", True),
        ("edge-a.operator.example:5099", False),
        ("operator.example", False),
        ("edge-b.operator.example", False),
    ],
)
def test_names_of_edges_outside_the_domains_are_given(place, ours):
    own = OwnPlaces([5061], ["edge-a.operator.example"])
    here = Flow("203.0.113.11", 5060, "udp", "192.0.2.1", 5060)
    assert own.has(Uri.parse(f"sip:{place}"), here, NOTHING_KNOWN) == ours


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("MESSAGE", 405), ("FOO", 501)])
def test_a_request_for_an_edge_by_its_name(world, method, status):
    phone = world.phone("alice")
    assert phone.transact(phone.agent.request(method, f"sip:edge-a.{DOMAIN}")).status == status


@pytest.mark.parametrize(
    ("routes", "uri", "left"),
    [
        ([], "sip:t@x", []),
        (["<sip:a;lr>", "<sip:b>"], "sip:t@x", ["<sip:a;lr>", "<sip:b>"]),
        (["<sip:a;lr=on>"], "sip:t@x", ["<sip:a;lr=on>"]),
        (["<sip:a>"], "sip:a", ["<sip:t@x>"]),
        (['"A, B" <sip:a;transport=tcp>;x=y', "<sip:b;lr>"], "sip:a;transport=tcp", ["<sip:b;lr>", "<sip:t@x>"]),
        (["<what"], "sip:t@x", ["<what"]),
    ],
)
def test_the_next_hop(routes, uri, left):
    assert next_hop("sip:t@x", routes) == (uri, left)


def test_a_strict_router_of_the_other_side_gets_its_own_uri(world, pair):
    """As a phone behind one has record-routed it, further in than we are."""
    alice, bob = pair
    invite = alice.start_call(f"sip:bob@{DOMAIN}")
    got = first(world, bob, "INVITE")
    ok = bob.agent.response(got, 200)
    ok.headers.insert(1, ("record-route", "Record-Route: <sip:10.0.0.1>, <sip:10.0.0.2;lr>"))
    bob.send(ok.to_bytes())
    dialog = alice.agent.caller_dialog(invite, world.wait(lambda: alice.agent.final(invite)))
    # Nearest to us is the one that came last.
    assert dialog.routes[2:] == ["<sip:10.0.0.2;lr>", "<sip:10.0.0.1>"]
    dialog.routes[2:] = ["<sip:10.0.0.1>", "<sip:10.0.0.2;lr>"]
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    alice.send(alice.agent.in_dialog(dialog, "BYE").to_bytes())
    for method in ("ACK", "BYE"):
        got = first(world, bob, method)
        assert got.uri == "sip:10.0.0.1"
        assert got.values("route") == ["<sip:10.0.0.2;lr>", f"<{dialog.target}>"]


def test_a_strict_router_before_us_has_put_our_uri_into_the_request_uri(world, pair):
    alice, bob = pair
    dialog, _ = answered_call(world, alice, bob)
    bye = alice.agent.in_dialog(dialog, "BYE")
    target = bye.uri
    bye.uri = NameAddr.parse(dialog.routes[0]).uri
    rest = [header for header in bye.headers if header[0] != "route"]
    bye.headers = [*rest, ("route", f"Route: {dialog.routes[1]}, <{target}>")]
    alice.send(bye.to_bytes())
    got = first(world, bob, "BYE")
    assert got.uri == target
    assert got.get("route") is None


@pytest.mark.parametrize("proxy", ["sip:203.0.113.11", "sip:203.0.113.11:5060;transport=udp", f"sip:edge-a.{DOMAIN}"])
def test_a_phone_whose_outbound_proxy_is_written_without_lr(world, proxy):
    """§8.1.2: it takes us for a strict router, and its REGISTER is for the edge, too."""
    alice, bob = world.phone("alice"), world.phone("bob", "edge-b")
    register = alice.agent.register_request(headers=[f"Route: <sip:{DOMAIN}>"])
    register.uri = proxy
    assert alice.transact(register).status == bob.register() == 200
    lines = [f"Route: <sip:bob@{DOMAIN}>", f"Contact: {alice.agent.contact}"]
    ask(world, alice, alice.agent.request("INVITE", proxy, f"<sip:bob@{DOMAIN}>", lines, SDP))
    assert first(world, bob, "INVITE").get("route") is None
    elsewhere = alice.agent.request("OPTIONS", proxy, headers=["Route: <sip:x@192.0.2.99>"])
    assert alice.transact(elsewhere).status == 404


def test_a_providers_strict_router_in_calls_out(world):
    provider = ProviderDouble(world)
    assign(world, account())
    alice = world.phone("alice", "edge-b")
    assert alice.register() == 200
    world.run(2)
    invite = dial(world, alice)
    out = arrives(world, provider)
    ok = provider.agent.response(out, 200)
    ok.headers = [(key, "Contact: <sip:gw@10.9.8.7:5060>" if key == "contact" else line) for key, line in ok.headers]
    ok.headers.insert(1, ("record-route", f"Record-Route: <{STRICT}>"))
    provider.answer(ok)
    dialog = alice.agent.caller_dialog(invite, world.wait(lambda: alice.agent.final(invite)))
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    ack = acknowledged(world, provider, out)
    provider.nonce = "another"
    bye = alice.agent.in_dialog(dialog, "BYE")
    alice.send(bye.to_bytes())
    got = arrives(world, provider, "BYE")
    for request in (ack, got):
        assert request.uri == STRICT
        assert request.values("route") == ["<sip:gw@10.9.8.7:5060>"]
    assert f'uri="{STRICT}"' in got.get("proxy-authorization")  # RFC 7616 §3.4.6
    assert number_of(got) > number_of(out)
    provider.answer(provider.agent.response(got, 200))
    assert world.wait(lambda: alice.agent.final(bye)).status == 200


def test_a_providers_strict_router_in_calls_in(world):
    provider = ProviderDouble(world)
    assign(world, account())
    bob = world.phone("bob", "edge-b")
    assert bob.register() == 200
    world.run(2)
    invite = call_in(world, provider, record_route=STRICT, contact="sip:gw@10.9.8.7:5060")
    got = first(world, bob, "INVITE")
    ok = bob.agent.response(got, 200)
    bob.send(ok.to_bytes())
    world.wait(lambda: provider.agent.final(invite))
    bye = bob.agent.in_dialog(bob.agent.callee_dialog(got, ok), "BYE")
    bob.send(bye.to_bytes())
    ended = arrives(world, provider, "BYE")
    assert ended.uri == STRICT
    assert ended.values("route") == ["<sip:gw@10.9.8.7:5060>"]


def test_in_a_dialog_the_routes_of_others_stay(world, pair):
    alice, bob = pair
    dialog, _ = answered_call(world, alice, bob)
    dialog.routes.append("<sip:sbc.example.net;lr>")
    alice.send(alice.agent.in_dialog(dialog, "INFO").to_bytes())
    assert first(world, bob, "INFO").values("route") == ["<sip:sbc.example.net;lr>"]


CONFIG = {
    "id": "a",
    "address": "203.0.113.11",
    "mesh": "10.0.0.5:5070",
    "control": ["http://10.0.0.9"],
    "key_file": "k",
}


def test_an_edge_behind_an_address_translation_is_known_by_where_it_listens_too():
    listens = {"listen": ["udp://10.0.0.5:5060"], "spare_listen": ["udp://10.0.0.6:5060"]}
    config = Config.model_validate({**CONFIG, **listens, "names": ["Edge-A.operator.example."]})
    assert config.own_names == ["edge-a.operator.example", "10.0.0.5", "10.0.0.6"]
    own = OwnPlaces(config.ports.values(), config.own_names)
    here = Flow("203.0.113.11", 5060, "udp", "192.0.2.1", 5060)
    assert own.has(Uri.parse("sip:10.0.0.5;lr"), here, NOTHING_KNOWN)
    assert not own.has(Uri.parse("sip:10.0.0.7;lr"), here, NOTHING_KNOWN)


@pytest.mark.parametrize("name", ["", "edge a", "sip:edge-a", "edge-a:5060"])
def test_a_name_is_a_host_name(name):
    with pytest.raises(ValidationError, match="not a host name"):
        Config.model_validate({**CONFIG, "listen": ["udp://10.0.0.5:5060"], "names": [name]})
