"""Registering with providers: what they ask for, how they fail, and that only one edge ever does it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from edge.proxy.stack.events import FleetChanged, FlowClosed, ProvidersAssigned
from edge.sip.flow import Flow
from edge.sip.headers import parse_digest
from edge.sip.message import make_response
from lambdas.contract import ProviderReport
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def provider(world) -> ProviderDouble:
    return ProviderDouble(world)


def reports(world):
    world.run(0.2)
    return [report for report in world.control.reports if isinstance(report, ProviderReport)]


def numbers(provider):
    return [int(request.get("cseq").split()[0]) for request in provider.registers]


def with_header(status, *lines):
    return lambda request: make_response(
        request, status, to_tag="x", headers=[(line.partition(":")[0].lower(), line) for line in lines]
    )


def test_it_registers_answers_the_challenge_and_refreshes_in_time(world, provider):
    assign(world, account())
    world.run(2)
    first, second = provider.registers
    assert first.get("authorization") is None
    assert 'username="4420"' in second.get("authorization")
    assert second.uri == "sip:sip.voip.test"
    assert second.get("from").startswith("<sip:4420@sip.voip.test>;tag=")
    assert second.get("contact") == "<sip:contactvoip@203.0.113.11:5060>;expires=3600"
    assert second.get("via").startswith("SIP/2.0/UDP 203.0.113.11:5060;branch=")
    (report,) = reports(world)
    assert (report.state, report.expires, report.period) == ("registered", 3600, 3540)
    world.run(3600)
    assert len(provider.registers) == 3  # the nonce is used again, with a higher count
    assert "nc=00000002" in provider.registers[2].get("authorization")
    assert len(reports(world)) == 1  # a refresh is no news
    assert {request.get("call-id") for request in provider.registers} == {"call-id-of-voip"}
    assert numbers(provider) == sorted(set(numbers(provider)))
    assert provider.pings > 100  # the way for calls is kept open


def test_a_restarted_edge_goes_on_with_the_call_id_and_a_higher_cseq(world, provider):
    assign(world, account())
    world.run(20)
    before = numbers(provider)[-1]
    world.restart("edge-a")
    assign(world, account())
    world.run(2)
    assert numbers(provider)[-1] > before
    assert {request.get("call-id") for request in provider.registers} == {"call-id-of-voip"}
    assert len({request.get("contact") for request in provider.registers}) == 1


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_both_algorithms(world, provider, algorithm):
    provider.algorithm = algorithm
    assign(world, account())
    world.run(2)
    assert reports(world)[-1].state == "registered"


def test_the_stronger_of_several_challenges_of_a_realm_and_one_answer_for_each_realm(world, provider):
    def several(request):
        lines = [
            'WWW-Authenticate: Digest realm="voip.test", nonce="n1", algorithm=MD5, qop="auth"',
            f'WWW-Authenticate: Digest realm="voip.test", nonce="{provider.nonce}", algorithm=SHA-256, qop="auth"',
            'WWW-Authenticate: Digest realm="voip.test", nonce="n3", algorithm=SHA-512-256, qop="auth"',
            'Proxy-Authenticate: Digest realm="proxy.test", nonce="n4", opaque="o"',
        ]
        return with_header(401, *lines)(request)

    provider.algorithm = "SHA-256"
    provider.script = [several]
    assign(world, account())
    world.run(2)
    answered = provider.registers[1]
    assert len(answered.values("authorization")) == len(answered.values("proxy-authorization")) == 1
    assert "algorithm=SHA-256" in answered.get("authorization")
    assert 'opaque="o"' in answered.get("proxy-authorization")
    assert "qop" not in answered.get("proxy-authorization")
    assert reports(world)[-1].state == "registered"


def test_another_realms_challenge_does_not_get_our_password(world, provider):
    assign(world, account(realm="mine.test"))
    world.run(2)
    assert len(provider.registers) == 1
    assert (reports(world)[-1].state, reports(world)[-1].status) == ("failing", 401)


def test_stale_nonces_are_replaced_and_wrong_passwords_are_not_insisted_on(world, provider):
    assign(world, account())
    world.run(2)
    provider.nonce = "new"
    provider.script = [lambda request: provider.challenge(request, 401, ", stale=true")]
    world.run(3600)
    assert reports(world)[-1].state == "registered"
    assert len(provider.registers) == 4
    provider.password = "changed"
    world.run(3600)
    last = reports(world)[-1]
    assert (last.state, last.status) == ("failing", 401)
    assert "refuses the user name or password" in last.reason
    assert len(provider.registers) <= 4 + 6  # once in ten minutes at most


def test_423_and_redirections_and_the_expiry_that_was_granted(world, provider):
    other = ProviderDouble(world, "198.51.100.9", "other.voip.test")
    provider.script = [
        with_header(423, "Min-Expires: 7200"),
        with_header(302, "Contact: <sip:other.voip.test>"),
    ]
    other.expires = 90
    assign(world, account())
    world.run(2)
    assert provider.registers[1].get("expires") == "7200"
    assert other.registers[-1].uri == "sip:sip.voip.test"
    assert (reports(world)[-1].expires, reports(world)[-1].period) == (90, 45)
    world.run(50)
    assert len(provider.registers) == 4  # a refresh begins at the front door again


@pytest.mark.parametrize("status", [403, 404, 603])
def test_refusals_are_tried_again_seldom_and_at_once_when_it_is_changed(world, provider, status):
    provider.script = [with_header(status)] * 50
    assign(world, account())
    world.run(24 * 3600)
    assert 6 <= len(provider.registers) <= 14
    told = [report for report in reports(world) if report.state == "failing"]
    waits = [report.next_at - report.at for report in told]
    assert 300 <= waits[0] <= 600
    assert all(10_800 <= wait <= 21_600 for wait in waits[6:])
    assert {report.status for report in told} == {status}
    provider.script = []
    assign(world, account(password="secret", version=2))
    world.run(2)
    assert reports(world)[-1].state == "registered"


def test_a_refusal_is_tried_again_when_the_provider_says_once(world, provider):
    provider.script = [with_header(403, "Retry-After: 2")] * 3
    assign(world, account())
    world.run(10)
    assert len(provider.registers) == 2  # it said so again, and is believed once
    assert 590 <= reports(world)[-1].next_at - reports(world)[-1].at <= 1200
    world.run(1200)
    assert len(provider.registers) == 3
    world.run(2400)
    assert reports(world)[-1].state == "registered"


def test_what_may_have_been_registered_after_a_refusal_is_taken_back(world, provider):
    provider.script = [with_header(403, "Retry-After: 2")]
    assign(world, account())
    world.run(1)
    provider.silent = True
    world.run(20)
    provider.silent = False
    assign(world, account(enabled=False, version=2))
    world.run(5)
    assert provider.registers[-1].get("expires") == "0"


def test_it_backs_off_with_jitter_and_minds_retry_after(world, provider):
    provider.script = [with_header(503, "Retry-After: 300"), with_header(500), with_header(480), with_header(500)]
    assign(world, account())
    world.run(1)
    assert len(provider.registers) == 1
    assert 298 < reports(world)[-1].next_at - world.control.clock() <= 300
    world.run(300)
    assert len(provider.registers) == 2
    assert reports(world)[-1].reason == "500 Server Internal Error"
    world.run(29)
    assert len(provider.registers) == 2  # the second failure waits for 30 to 60 s
    world.run(32)
    assert len(provider.registers) == 3
    world.run(3600)
    assert reports(world)[-1].state == "registered"


def test_the_next_server_is_tried_and_one_that_comes_back_is_used(world):
    dead = ProviderDouble(world, "198.51.100.1")
    alive = ProviderDouble(world, "198.51.100.2")
    dead.silent = True
    assign(world, account())
    world.run(60)
    assert reports(world)[-1].state == "registered"
    assert reports(world)[-1].server == "udp:198.51.100.2:5060"
    before = len(alive.registers)
    world.run(3600)
    assert len(alive.registers) > before  # it stays where it is registered
    world.servers["sip.voip.test"] = [("udp", "198.51.100.3", 5060)]
    moved = ProviderDouble(world, "198.51.100.3", "elsewhere.test")
    world.run(3600)
    assert moved.registers  # DNS says so


def test_an_unknown_host_is_reported(world):
    assign(world, account(host="nowhere.test"))
    world.run(1)
    last = reports(world)[-1]
    assert (last.state, last.status, last.reason) == ("failing", 0, "nowhere.test can't be resolved")


def test_nothing_leaves_outside_the_time_in_which_nobody_else_registers(world, provider):
    node = world.nodes["edge-a"]
    world.exclusive[node.address] = (world.now + 12, world.now + 30)
    world.inform(node)
    assign(world, account())
    world.run(11.9)
    assert not provider.registers  # a taker waits for lease and skew
    world.run(2)
    assert len(provider.registers) == 2
    provider.silent = True
    sent = []
    deliver = world.deliver
    world.deliver = lambda flow, data: (sent.append(world.now), deliver(flow, data))
    world.nodes["edge-a"].handle(ProvidersAssigned(node.address, [account(version=2).account], [], True))
    deadline = world.exclusive[node.address][1]
    world.run(100)
    assert sent
    assert max(sent) < deadline  # retransmissions too


def test_another_epoch_has_to_be_claimed_first(world, provider):
    assign(world, account())
    world.run(2)
    node = world.nodes["edge-a"]
    before = len(provider.registers)
    node.handle(FleetChanged(replace(world.fleet(node), epochs={node.address: 2})))
    world.run(4000)
    assert len(provider.registers) == before
    assert len(node.core.agent) == 0


def test_disabled_and_deleted_accounts_are_unregistered(world, provider):
    assign(world, account())
    world.run(2)
    assign(world, account(enabled=False, version=2))
    world.run(2)
    assert provider.registers[-1].get("expires") == "0"
    assert provider.registers[-1].get("authorization")
    assert reports(world)[-1].state == "unregistered"
    assign(world, account(version=3))
    world.run(2)
    assert reports(world)[-1].state == "registered"
    node = world.nodes["edge-a"]
    node.handle(ProvidersAssigned("", [], ["t1/voip"]))
    world.run(2)
    assert provider.registers[-1].get("contact").endswith(";expires=0")
    assert len(node.core.agent) == 0


def test_a_change_of_user_takes_the_old_registration_back(world, provider):
    assign(world, account())
    world.run(2)
    assign(world, account(username="4421", version=2))
    world.run(2)
    users = [(request.get("from").split("@")[0], request.get("expires")) for request in provider.registers[2:]]
    assert ("<sip:4420", "0") in users
    assert ("<sip:4421", "3600") in users


def test_a_lost_connection_is_made_again(world):
    provider = ProviderDouble(world, transport="tcp")
    assign(world, account(transport="tcp"))
    world.run(2)
    assert provider.registers[-1].get("contact") == "<sip:contactvoip@203.0.113.11:5060;transport=tcp>;expires=3600"
    before = len(provider.registers)
    node = world.nodes["edge-a"]
    assert node.core.keeps(Flow(node.address, 5060, "tcp", "198.51.100.1", 5060))
    assert not node.core.keeps(Flow(node.address, 5060, "tcp", "198.51.100.1", 5061))
    node.handle(FlowClosed(Flow(node.address, 5060, "tcp", "198.51.100.1", 5060)))
    world.run(2)
    assert len(provider.registers) == before + 1


def test_an_outbound_proxy_gets_the_register_and_the_registrar_is_named(world):
    proxy = ProviderDouble(world, "198.51.100.5", "proxy.voip.test")
    assign(world, account(outbound_proxy="proxy.voip.test:5080", headers=("X-Account: 7",)))
    world.run(2)
    request = proxy.registers[-1]
    assert request.uri == "sip:sip.voip.test"
    assert request.get("route") == "<sip:proxy.voip.test:5080;lr>"
    assert request.get("x-account") == "7"


def test_an_answer_that_lists_only_others_contacts_registered_nothing(world, provider):
    provider.script = [with_header(200, "Contact: <sip:somebody@else.test>;expires=60")]
    assign(world, account())
    world.run(1)
    assert reports(world)[-1].state == "failing"
    assert "registered nothing" in reports(world)[-1].reason


@pytest.mark.parametrize(
    "place",
    ["203.0.113.77:5060", "203.0.113.77:40123", "sbc.voip.test;transport=tcp;ob", "203.0.113.11:5090;x=y"],
)
def test_our_contact_is_ours_wherever_the_registrar_sees_it(world, provider, place):
    """Behind a border, or as the NAT shows it: its user can't be guessed."""
    provider.asks = False
    provider.script = [
        with_header(200, f"Contact: <sip:other@198.51.100.9>;expires=10, <sip:%63ontactvoip@{place}>;expires=120")
    ]
    assign(world, account())
    world.run(2)
    assert (reports(world)[-1].state, reports(world)[-1].expires) == ("registered", 120)


def test_of_several_contacts_with_our_user_the_one_at_our_address_counts(world, provider):
    provider.asks = False
    lines = [
        "Contact: <sip:contactvoip@203.0.113.99:5060>;expires=3000",
        "Contact: <sip:contactvoip@203.0.113.11:5060>;expires=100",
    ]
    provider.script = [with_header(200, *lines), with_header(200, lines[0], "Contact: <tel:+4420>;expires=9000")]
    assign(world, account())
    world.run(2)
    assert reports(world)[-1].expires == 100
    world.run(60)
    assert reports(world)[-1].expires == 3000


def test_who_registers_nothing_is_asked_ever_less_often(world, provider):
    provider.asks = False
    provider.script = [with_header(200, "Contact: <sip:contactvoip@203.0.113.11:5060>;expires=0")] * 100
    assign(world, account())
    world.run(3600)
    assert len(provider.registers) < 12
    assert "registered nothing" in reports(world)[-1].reason


def test_an_endless_expiry_is_refreshed_every_day(world, provider):
    provider.asks = False
    provider.script = [with_header(200, "Contact: <sip:contactvoip@203.0.113.11:5060>;expires=999999999")]
    assign(world, account())
    world.run(2)
    assert reports(world)[-1].expires == 86_400


def test_a_second_server_is_tried_though_the_first_says_when_to_come_again(world, provider):
    second = ProviderDouble(world, "198.51.100.2")
    provider.script = [with_header(503, "Retry-After: 3000")]
    assign(world, account())
    world.run(5)
    assert reports(world)[-1].state == "registered"
    assert len(second.registers) == 2


def test_challenges_in_one_header_field_quotes_in_realms_and_auth_int(world, provider):
    lines = [
        'WWW-Authenticate: Digest realm="a \\"b\\", c", nonce="n,1", opaque="", domain="sip:x", qop="auth-int", '
        'Digest realm="other", nonce="n2", algorithm=md5, stale=FALSE, Basic realm="z"',
    ]
    provider.script = [with_header(401, *lines)]
    assign(world, account())
    world.run(2)
    first, second = provider.registers[1].values("authorization")
    assert first.startswith('Digest username="4420", realm="a \\"b\\", c", nonce="n,1", uri="sip:sip.voip.test"')
    ha1 = hashlib.md5(b'4420:a "b", c:secret').hexdigest()
    ha2 = hashlib.md5(b"REGISTER:sip:sip.voip.test:" + hashlib.md5(b"").hexdigest().encode()).hexdigest()
    params = parse_digest(first)
    text = f"{ha1}:n,1:00000001:{params['cnonce']}:auth-int:{ha2}"
    assert params["response"] == hashlib.md5(text.encode()).hexdigest()
    assert (params["qop"], params["opaque"]) == ("auth-int", "")
    assert 'realm="other"' in second
    assert "qop" not in second


@pytest.mark.parametrize("lines", [[], ["Min-Expires: 3600"], ["Min-Expires: 999999"], ["Min-Expires: many"]])
def test_423_that_leads_nowhere_is_a_failure(world, provider, lines):
    provider.script = [with_header(423, *lines)] * 3
    assign(world, account())
    world.run(2)
    assert len(provider.registers) == 1
    assert (reports(world)[-1].state, reports(world)[-1].status) == ("failing", 423)
    world.run(600)
    assert reports(world)[-1].state == "registered"


def test_a_registrar_that_asks_for_ever_longer_is_given_up(world, provider):
    provider.script = [with_header(423, f"Min-Expires: {3601 + turn}") for turn in range(50)]
    assign(world, account())
    world.run(2)
    assert len(provider.registers) == 7


def test_a_challenge_that_cannot_be_answered_says_so(world, provider):
    provider.script = [with_header(401, 'WWW-Authenticate: Digest realm="a", nonce="n", algorithm=AKAv1-MD5')]
    assign(world, account())
    world.run(2)
    assert "in a way that isn't known here" in reports(world)[-1].reason


def test_the_next_nonce_is_used(world, provider):
    assign(world, account(expires=600))

    def accept(request):
        info = ("authentication-info", 'Authentication-Info: qop=auth, nextnonce="following", nc=00000001')
        response = provider.register(request)
        response.headers.insert(5, info)
        return response

    provider.script = [None, accept]
    world.run(2)
    provider.nonce = "following"
    world.run(600)
    assert len(provider.registers) == 3
    assert 'nonce="following"' in provider.registers[2].get("authorization")
    assert "nc=00000001" in provider.registers[2].get("authorization")


def test_many_accounts_begin_one_after_the_other(world, provider):
    provider.asks = False
    node = world.nodes["edge-a"]
    accounts = [replace(account(f"p{number}"), id=f"t1/p{number}").account for number in range(1000)]
    node.handle(ProvidersAssigned(node.address, accounts, [], True))
    world.run(1)
    assert 5 <= len(provider.registers) < 300
    world.run(15)
    assert len({request.get("call-id") for request in provider.registers}) == 1000
    pings = provider.pings
    world.run(25)
    assert provider.pings - pings == 1  # one way for all of them


def test_reports_name_the_account_that_they_are_of(world, provider):
    """Another one may have its name by the time they arrive."""
    provider.script = [None, None, lambda request: with_header(500)(request)]
    assign(world, account())
    world.run(2)
    assign(world, account(call_id="made-again", contact_user="another", version=7))
    world.run(5)
    named = {(report.call_id, report.version) for report in reports(world)}
    assert named == {("call-id-of-voip", 1), ("made-again", 7)}
    assert reports(world)[-1].call_id == "made-again"


def test_an_account_made_again_under_its_name_gets_its_calls(world, provider):
    assign(world, account())
    world.run(2)
    assign(world, account(contact_user="another", call_id="another-call-id", version=2))
    world.run(2)
    node = world.nodes["edge-a"]
    flow = Flow(node.address, 5060, "udp", *provider.place)
    assert node.core.agent.account_of("another", flow) == "t1/voip"
    assert node.core.agent.account_of("contactvoip", flow) == ""
    assert ("call-id-of-voip", "0") in [(item.get("call-id"), item.get("expires")) for item in provider.registers]
    assert reports(world)[-1].state == "registered"  # not what became of the old one


@pytest.mark.parametrize("when", [0.015, 0.5])
def test_whatever_may_be_registered_is_taken_back(world, provider, when):
    """Disabled while the first REGISTER is under way, or while a new holder waits for its time."""
    node = world.nodes["edge-a"]
    if when == 0.5:
        world.exclusive[node.address] = (world.now + 5, float("inf"))
        world.inform(node)
    assign(world, account())
    world.run(when)
    assign(world, account(enabled=False, version=2))
    world.run(10)
    assert provider.registers[-1].get("expires") == "0"
    assert reports(world)[-1].state == "unregistered"


def test_a_provider_that_closes_after_each_answer_is_not_flooded(world):
    provider = ProviderDouble(world, transport="tcp")
    provider.asks = False
    assign(world, account(transport="tcp"))
    node = world.nodes["edge-a"]
    for _ in range(1200):
        world.run(0.5)
        node.handle(FlowClosed(Flow(node.address, 5060, "tcp", "198.51.100.1", 5060)))
    assert len(provider.registers) < 20


def test_a_takeovers_registers_leave_one_after_the_other(world, provider):
    provider.asks = False
    node = world.nodes["edge-a"]
    world.exclusive[node.address] = (world.now + 12, float("inf"))
    world.inform(node)
    accounts = [replace(account(f"p{number}"), id=f"t1/p{number}").account for number in range(500)]
    for start in range(0, 500, 50):
        node.handle(ProvidersAssigned(node.address, accounts[start : start + 50], [], start == 450))
    world.run(12.5)
    assert 0 < len(provider.registers) < 120
    world.run(10)
    assert len(provider.registers) == 500


def test_a_reason_that_is_not_utf8_is_reported(world, provider):
    provider.script = [lambda request: make_response(request, 500, b"Erreur \xe9".decode("utf-8", "surrogateescape"))]
    assign(world, account())
    world.run(1)
    assert reports(world)[-1].model_dump_json()
