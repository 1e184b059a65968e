"""By ear: phones behind two NATs that can't reach each other play tones, and each hears the other's. One of the NATs keeps
ports, the other one takes a new one for each destination."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
from collections.abc import Iterator

import pytest

from scripts.baresip import Baresip
from scripts.fleet_parts import DOMAIN, SIP, Host, PhoneAccount
from scripts.processes import in_namespace, wait_for
from scripts.tones import listen, record, write_tone
from tests.natlab.conftest import laboratory
from tests.support.ears import clear, hear, hear_nothing
from tests.support.kamailio import Kamailio
from tests.support.natlab import WAN, NatLab, ipv6_of
from tests.support.phones.pjsua import Pjsua
from tests.support.wire_ear import WireEar

pytestmark = pytest.mark.natlab

PROVIDER = "sip.voip.test"
FAR = PhoneAccount(f"442079460001@{PROVIDER}", "442079460001", "secret")
TONES = {"alice": 450, "bob": 700, "carol": 950, "dave": 1200, FAR.username: 1450}
PLACES = {"alice": ("phone", "edge-a"), "bob": ("phone3", "edge-a"), "carol": ("phone3", "edge-b")}


@pytest.fixture(scope="module")
def lab() -> Iterator[NatLab]:
    with laboratory(NatLab) as made:
        made.add_ipv6()
        yield made


@pytest.fixture(scope="module")
def fleet(lab, tmp_path_factory):
    """Its edges have IPv6 sides and engines."""
    made = lab.fleet(tmp_path_factory.mktemp("fleet"))
    for edge in made.edges:
        side = ipv6_of(edge.host)
        listen_at = [f"{kind}://{host}:{SIP}" for host in (edge.address, f"[{side}]") for kind in ("udp", "tcp")]
        edge.settings |= {"address6": side, "listen": listen_at, "media": "rtpengine"}
        edge.settings["provider_networks"] = [f"{WAN}.0/24"]
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def provider(lab, fleet, tmp_path_factory):
    """Kamailio, whose subscribers speak plain RTP: far away is one of them, and bob is called at another one's number."""
    made = Kamailio(tmp_path_factory.mktemp("provider"), lab.host("control"), PROVIDER)
    try:
        account = {"name": "voip", "host": lab.host("control").address, "from_domain": PROVIDER}
        login = {"username": "4420", "password": "secret", "incoming": [f"bob@{DOMAIN}"]}
        fleet.client.api("POST", "/v1/providers", {"tenant": fleet.tenant, **account, **login})
        routes = {"country": "GB", "outbound_routes": [{"providers": ["voip"]}]}
        fleet.client.api("PATCH", f"/v1/tenants/{fleet.tenant}", routes)
        wait_for("the account to be registered", lambda: made.registrations("4420"), 15)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def phones(lab, fleet, tmp_path_factory):
    """By name, registered: alice behind the one NAT, bob and carol at two edges behind the other, dave with IPv6 only."""
    directory = tmp_path_factory.mktemp("phones")
    with contextlib.ExitStack() as stack:

        def phone(account, domain, host, proxy, number, interface="eth0"):
            made = Baresip(
                directory, account, domain, f"{proxy}:{SIP}", host, interface,
                5080 + 10 * number, 4440 + number, tone=TONES[account.username],
            )  # fmt: skip
            return stack.enter_context(made)

        made = {
            name: phone(fleet.accounts[name], DOMAIN, lab.host(place), lab.host(edge).address, number)
            for number, (name, (place, edge)) in enumerate(PLACES.items())
        }
        outside = Host(ipv6_of(lab.host("caller")), lab.ns("caller"))
        made["dave"] = phone(fleet.accounts["dave"], DOMAIN, outside, f"[{ipv6_of(lab.host('edge-b'))}]", 3, None)
        for one in made.values():
            assert one.registered()
        yield made


@pytest.fixture(scope="module")
def far(lab, provider, tmp_path_factory):
    proxy = f"{provider.host.address}:{SIP}"
    directory = tmp_path_factory.mktemp("far")
    tone = TONES[FAR.username]
    with Baresip(directory, FAR, PROVIDER, proxy, lab.host("caller"), "wan", 5120, 4444, tone=tone) as made:
        assert made.registered()
        yield made


@contextlib.contextmanager
def in_call(one, other, uri=""):
    """An answered call, which whoever is still in it ends."""
    one.command("dial", uri or f"sip:{other.name}@{DOMAIN}")
    try:
        other.wait("CALL_INCOMING")
        other.command("accept")
        for phone in (one, other):
            phone.wait("CALL_ESTABLISHED")
        yield
    finally:
        one.command("hangup")
        other.wait("CALL_CLOSED")


def crossed(one, other):
    """Each of two with the tone of the other."""
    return [(one, TONES[other.name]), (other, TONES[one.name])]


@pytest.mark.parametrize("names", ["alice bob", "bob alice", "alice carol", "carol alice"])
def test_through_one_edge_and_across_two(fleet, phones, names):
    one, other = (phones[name] for name in names.split())
    with in_call(one, other):
        hear(crossed(one, other))
        assert sum(len(sessions(fleet, edge)) for edge in fleet.edges) == 1


def test_nothing_is_heard_where_nothing_is_relayed(fleet, phones):
    """Their tenant wants media to go directly: so these NATs do keep the phones apart."""
    alice, carol = phones["alice"], phones["carol"]
    fleet.client.api("PATCH", f"/v1/tenants/{fleet.tenant}", {"media": "direct"})
    try:
        with in_call(alice, carol):
            hear_nothing(crossed(alice, carol))
    finally:
        fleet.client.api("PATCH", f"/v1/tenants/{fleet.tenant}", {"media": "auto"})


def test_after_hold_and_resume(lab, phones):
    """From both sides; heard at the cable, since baresip 1.0's recording ends with a hold."""
    alice, carol = phones["alice"], phones["carol"]
    with WireEar(lab.host("phone")) as near, WireEar(lab.host("phone3")) as distant, in_call(alice, carol):
        both = [(near, TONES["carol"]), (distant, TONES["alice"])]
        hear(both)
        for holder in (alice, carol):
            holder.command("hold")
            hear_nothing(both)
            holder.command("resume")
            hear(both)


def test_after_a_blind_transfer(phones):
    """carol sends alice on to bob."""
    alice, bob, carol = phones["alice"], phones["bob"], phones["carol"]
    with in_call(alice, carol):
        hear(crossed(alice, carol))
        carol.command("transfer", f"sip:bob@{DOMAIN}")
        bob.wait("CALL_INCOMING")
        bob.command("accept")
        bob.wait("CALL_ESTABLISHED")
        hear(crossed(alice, bob))
    bob.wait("CALL_CLOSED")


def test_after_an_attended_transfer(lab, fleet, tmp_path):
    """By pjsua2, since baresip 1.0 knows no Replaces: erin consults grace, and joins frank and her."""
    with contextlib.ExitStack() as stack:
        erin, frank, grace = (
            stack.enter_context(pjsua(lab, fleet, tmp_path, *one))
            for one in (
                ("erin", "caller", "edge-a", 450),
                ("frank", "phone2", "edge-a", 700),
                ("grace", "phone3", "edge-b", 950),
            )
        )
        near, distant = (stack.enter_context(WireEar(phone.host)) for phone in (frank, grace))
        erin.call(f"sip:frank@{DOMAIN}")
        frank.wait("rings")
        frank.answer()
        erin.wait("connected")
        hear([(near, 450)])
        erin.hold()
        erin.wait("held")
        erin.consult(f"sip:grace@{DOMAIN}")
        grace.wait("rings")
        grace.answer()
        erin.wait("connected")
        hear([(distant, 450)])
        erin.join()
        for phone in (erin, grace):
            phone.wait("ended")
        hear([(near, 950), (distant, 700)])
        frank.hang_up()
        grace.wait("ended")


def pjsua(lab, fleet, directory, name, place, edge, tone):
    """A phone of a new account's."""
    made = fleet.client.api("POST", "/v1/accounts", {"username": name, "domain": DOMAIN})
    account = PhoneAccount(made["aor"], made["username"], made["password"])
    phone = Pjsua(directory, account, DOMAIN, lab.host(place), (lab.host(edge).address, SIP))
    phone.tone = directory / f"{name}.wav"
    write_tone(phone.tone, tone)
    return phone


@pytest.mark.parametrize("names", ["alice dave", "dave alice"])
def test_between_ipv4_and_ipv6(phones, names):
    one, other = (phones[name] for name in names.split())
    with in_call(one, other):
        hear(crossed(one, other))


@pytest.mark.parametrize("name", ["alice", "bob", "dave"])
def test_the_echo_number(phones, name):
    """Its caller hears itself."""
    phone = phones[name]
    phone.command("dial", f"sip:*43@{DOMAIN}")
    phone.wait("CALL_ESTABLISHED")
    try:
        hear([(phone, TONES[name])])
    finally:
        phone.command("hangup")


def test_with_a_provider(phones, far):
    """Out and in."""
    alice, bob = phones["alice"], phones["bob"]
    with in_call(alice, far, f"sip:02079460001@{DOMAIN}"):
        hear(crossed(alice, far))
    with in_call(far, bob, f"sip:4420@{PROVIDER}"):
        hear(crossed(far, bob))


def test_an_outside_call_that_is_put_through(phones, far):
    """bob sends a caller from outside on to alice; the edge carries that out, and the provider notices nothing."""
    alice, bob = phones["alice"], phones["bob"]
    with in_call(far, bob, f"sip:4420@{PROVIDER}"):
        hear(crossed(far, bob))
        bob.command("transfer", f"sip:alice@{DOMAIN}")
        alice.wait("CALL_INCOMING")
        alice.command("accept")
        alice.wait("CALL_ESTABLISHED")
        hear(crossed(far, alice))
    alice.wait("CALL_CLOSED")


@pytest.mark.parametrize("killed", [0, 1], ids=["of the caller", "of the callee"])
def test_the_process_of_an_edge_is_killed(fleet, phones, killed):
    """kill -9: nobody hears anything of that, since engines outlive the processes of their edges."""
    alice, carol = phones["alice"], phones["carol"]
    edge = fleet.edges[killed]
    with in_call(alice, carol):
        hear(crossed(alice, carol))
        fleet.processes.kill(edge.id)
        tapes = record([alice, carol], 3)
        fleet.start_edge(edge)
        fleet.wait_ready(edge)
        tapes = [tape + more for tape, more in zip(tapes, record([alice, carol], 1), strict=True)]
        for tape, tone in zip(tapes, (TONES["carol"], TONES["alice"]), strict=True):
            heard = listen(tape, tone)
            assert clear(heard), heard


def test_nothing_is_left_of_all_that(fleet, phones):
    """The engines list no session of calls that have ended."""
    wait_for("the engines to be done", lambda: not any(sessions(fleet, edge) for edge in fleet.edges), 10)


def sessions(fleet, edge):
    """What the engine itself says."""
    (settings,) = fleet.directory.glob(f"{edge.id}.state/engines/*.conf")
    port = int(re.search(r"^listen-ng = 127.0.0.1:(\d+)$", settings.read_text(), re.MULTILINE)[1])

    def ask():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.settimeout(5)
            made.sendto(f'{secrets.token_hex(8)} {{"command": "list"}}'.encode(), ("127.0.0.1", port))
            return json.loads(made.recv(65536).partition(b" ")[2])["calls"]

    return in_namespace(edge.host.namespace, ask)
