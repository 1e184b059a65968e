"""Provider accounts with Kamailio as the provider: registered, called in and out, and never from two places."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from edge.sip.headers import NameAddr
from scripts.fleet_parts import DOMAIN, SIP, Host, PhoneAccount
from scripts.processes import Processes, wait_for
from tests.support.certificates import self_signed
from tests.support.dns_server import DnsServer
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.kamailio import Kamailio
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.integration

SCENARIOS = Path(__file__).parent.parent / "sipp"
NAME = "sip.voip.test"
LEASE_BOUND = 30  # seconds: lease and skew (12), and the time to notice, fetch and register on a busy machine


class Set:
    """A fleet, a name server and a place for a provider."""

    def __init__(self, tmp_path):
        base = fresh_base()
        prefix = base.rpartition(".")[0]
        self.place = Host(f"{prefix}.20")
        self.other = Host(f"{prefix}.30")
        self.dns = DnsServer(f"{prefix}.40")
        self.fleet = loopback_fleet(tmp_path, base, 2)
        for edge in self.fleet.edges:
            edge.settings["nameservers"] = [self.dns.address]

    def add(self, name="voip", **kwargs):
        body = {
            "tenant": self.tenant,
            "name": name,
            "host": NAME,
            "username": "4420",
            "password": "secret",
            "incoming": [f"bob@{DOMAIN}"],
            **kwargs,
        }
        return self.fleet.client.api("POST", "/v1/providers", body)

    @property
    def tenant(self):
        return self.fleet.client.api("GET", "/v1/tenants")["items"][0]["id"]

    def state(self, name="voip"):
        return self.fleet.client.api("GET", f"/v1/providers/{name}?tenant={self.tenant}")["registration"]

    def registered(self, name="voip", seconds=15):
        def ready():
            state = self.state(name)
            return state if state["state"] == "registered" else None

        return wait_for(f"{name} to be registered", ready, seconds)

    def phone(self, user, index, transport="UDP"):
        edge = self.fleet.edges[index]
        return SocketPhone(self.fleet.accounts[user], DOMAIN, Host(edge.host.address), (edge.address, SIP), transport)


@pytest.fixture
def made(tmp_path):
    one = Set(tmp_path)
    try:
        one.fleet.start()
        yield one
    finally:
        one.fleet.stop()
        one.dns.close()


@pytest.mark.parametrize(
    ("account", "kamailio"),
    [
        ({}, {}),
        ({"transport": "tcp", "outbound_proxy": "proxy.voip.test:5060"}, {}),
        ({"realm": "voip"}, {"realm": "voip", "algorithm": "SHA-256", "quirks": True}),
    ],
    ids=["udp", "tcp-and-outbound-proxy", "quirks"],
)
def test_a_provider_registered_called_in_and_called_out(made, tmp_path, account, kamailio):
    made.dns.records = {
        (f"_sip._udp.{NAME}", "SRV"): ["10 10 5060 node1.voip.test."],
        ("node1.voip.test", "A"): [made.place.address],
        ("proxy.voip.test", "A"): [made.place.address],
        (NAME, "A"): [made.place.address],
    }
    provider = Kamailio(tmp_path, made.place, NAME, phone=made.other.address, **kamailio)
    try:
        shown = made.add(**account)
        assert "password" not in shown
        state = made.registered()
        assert state["edge"] in ("edge-a", "edge-b")
        assert state["last_status"] == 200
        assert 3000 < state["expires"] - time.time() <= 3600
        (first,) = provider.registrations("4420")
        assert state["edge_address"] in first.contact
        made.fleet.client.api(
            "PATCH", f"/v1/tenants/{made.tenant}", {"country": "GB", "outbound_routes": [{"providers": ["voip"]}]}
        )
        subscriber = PhoneAccount("442079460001@sip.voip.test", "442079460001", "secret")
        far = SocketPhone(subscriber, NAME, made.other, (made.place.address, SIP))
        far.agent.algorithm = kamailio.get("algorithm", "MD5")
        with far, made.phone("alice", 0) as alice, made.phone("bob", 1) as bob:
            assert far.register() == alice.register() == bob.register() == 200
            # In, and hung up from either side.
            for turn in range(2):
                mine, theirs = call(far, bob, f"sip:4420@{NAME}")
                in_dialog(far, mine, "INVITE", bob)
                in_dialog(bob, theirs, "INVITE", far)
                in_dialog(*((far, mine, "BYE", bob) if turn else (bob, theirs, "BYE", far)))
            # Out, by a dialled number; the provider knows the account, and nothing of the phone.
            for turn in range(2):
                mine, theirs = call(alice, far, f"sip:02079460001@{DOMAIN}")
                invite = far.agent.requests("INVITE")[0]
                assert NameAddr.parse(invite.get("from")).uri == f"sip:4420@{NAME}"
                assert "alice" not in invite.to_bytes().decode()
                in_dialog(alice, mine, "INVITE", far)
                in_dialog(far, theirs, "INVITE", alice)
                in_dialog(*((far, theirs, "BYE", alice) if turn else (alice, mine, "BYE", far)))
            assert any("from=4420 to=+442079460001" in line and "vias=1" in line for line in provider.calls())
            calls = made.fleet.client.wait_for_calls(made.tenant, time.strftime("%Y-%m-%d", time.gmtime()), 4, ended=4)
            assert {item["called"] for item in calls} == {f"4420@{NAME}", f"02079460001@{DOMAIN}"}
            # A disabled account is taken back within 10 s.
            made.fleet.client.api("PATCH", f"/v1/providers/voip?tenant={made.tenant}", {"enabled": False})
            gone = wait_for("the account to be unregistered", lambda: provider.registrations("4420")[1:], 10)[-1]
            assert gone.contact.endswith("expires=0")
            assert gone.call_id == first.call_id
            assert gone.cseq > first.cseq
            invite = far.invite(f"sip:4420@{NAME}")
            assert far.wait(lambda: far.agent.final(invite)).status == 404
    finally:
        provider.stop()


def test_a_trunks_calls_come_in_by_number_at_an_edge_of_its_choice(made, tmp_path):
    """It isn't registered with: every edge knows where its calls come from, and asks whose number it is."""
    made.dns.records = {(NAME, "A"): [made.place.address]}
    edge = made.fleet.edges[1].address
    provider = Kamailio(tmp_path, made.place, NAME, phone=made.other.address, trunk=edge)
    try:
        made.fleet.client.api("PATCH", f"/v1/tenants/{made.tenant}", {"country": "GB"})
        shown = made.add(registers=False, numbers=["020 7946 0111"], port=5060)
        assert (shown["numbers"], shown["registration"]) == (["+442079460111"], None)
        subscriber = PhoneAccount("442079460001@sip.voip.test", "442079460001", "secret")
        far = SocketPhone(subscriber, NAME, made.other, (made.place.address, SIP))
        with far, made.phone("bob", 0) as bob:
            assert far.register() == bob.register() == 200
            today = time.strftime("%Y-%m-%d", time.gmtime())

            def told():
                """Once the edge knows where the trunk is, it asks whose number that is, and the tenant hears of it."""
                assert far.transact(far.agent.invite_request(f"sip:+442079460112@{NAME}")).status == 404
                path = f"/v1/events?tenant={made.tenant}&day={today}&kind=provider"
                return made.fleet.client.api("GET", path)["items"]

            event = wait_for("a call from the trunk to be told of", told, 30)[0]
            assert (event["about"], "442079460112" in event["text"]) == (NAME, True)
            mine, theirs = call(far, bob, f"sip:+442079460111@{NAME}")
            in_dialog(far, mine, "INVITE", bob)
            in_dialog(bob, theirs, "INVITE", far)
            in_dialog(far, mine, "BYE", bob)
        records = made.fleet.client.wait_for_calls(made.tenant, today, 1, ended=1)
        assert [leg["to"] for record in records for leg in record["legs"]] == [f"bob@{DOMAIN}"]
    finally:
        provider.stop()


def test_a_provider_by_tls_is_who_its_certificate_says(tmp_path):
    """Its account's own CA counts, for the account's domain. Calls go on though their edge has been started anew."""
    one, certificate, wrong = Set(tmp_path), self_signed(NAME), self_signed("other.voip.test")
    chain, key = self_signed("edge.test").write(tmp_path / "edges", "certificate")
    for edge in one.fleet.edges:
        edge.settings["listen"] = [f"{kind}://{edge.sip}" for kind in ("udp", "tcp")] + [f"tls://{edge.address}:5061"]
        edge.settings["certificates"] = [{"chain": str(chain), "key": str(key)}]
    one.dns.records = {(f"_sips._tcp.{NAME}", "SRV"): ["1 1 5061 node1.voip.test."]}
    one.dns.records["node1.voip.test", "A"] = [one.place.address]
    provider = Kamailio(tmp_path, one.place, NAME, phone=one.other.address, certificate=wrong)
    try:
        one.fleet.start()
        shown = one.add(transport="tls", ca=wrong.chain)
        assert (shown["transport"], shown["ca"]) == ("tls", wrong.chain)
        why = wait_for("the wrong certificate to be noticed", lambda: one.state()["reason"], 15)
        assert why == f"the certificate is for other.voip.test, not for {NAME}"
        provider.stop()
        provider = Kamailio(tmp_path, one.place, NAME, phone=one.other.address, certificate=certificate)
        one.fleet.client.api("PATCH", f"/v1/providers/voip?tenant={one.tenant}", {"ca": certificate.chain})
        state = one.registered()
        assert state["server"] == f"tls:{one.place.address}:5061"
        assert ":5061;transport=tls>" in provider.registrations("4420")[-1].contact
        one.fleet.client.api(
            "PATCH", f"/v1/tenants/{one.tenant}", {"country": "GB", "outbound_routes": [{"providers": ["voip"]}]}
        )
        subscriber = PhoneAccount("442079460001@sip.voip.test", "442079460001", "secret")
        far = SocketPhone(subscriber, NAME, one.other, (one.place.address, SIP))
        with far, one.phone("alice", 0) as alice, one.phone("bob", 1) as bob:
            assert far.register() == alice.register() == bob.register() == 200
            out, theirs = call(alice, far, f"sip:02079460001@{DOMAIN}")
            assert any("via=SIP/2.0/TLS" in line for line in provider.calls())
            in_dialog(far, theirs, "INVITE", alice)
            in_dialog(alice, out, "BYE", far)
            mine, theirs = call(far, bob, f"sip:4420@{NAME}")
            holder = next(edge for edge in one.fleet.edges if edge.id == one.state()["edge"])
            before = len(provider.registrations("4420"))
            one.fleet.processes.stop(holder.id)
            one.fleet.start_edge(holder)
            one.fleet.wait_ready(holder)
            wait_for("it to be registered again", lambda: provider.registrations("4420")[before:], 15)
            in_dialog(bob, theirs, "INVITE", far)
            in_dialog(far, mine, "BYE", bob)
    finally:
        provider.stop()
        one.fleet.stop()
        one.dns.close()


def test_after_a_kill_the_survivor_registers_and_a_sleeper_never_does(made, tmp_path):
    """No driver moves addresses here: the account goes to another address once the lease is over."""
    provider = Kamailio(tmp_path, made.place, NAME)
    fleet = made.fleet
    try:
        made.add(host=made.place.address, from_domain=NAME, expires=60)
        state = made.registered()
        assert len(provider.registrations("4420")) == 1
        for signal_number in (signal.SIGSTOP, signal.SIGKILL):
            holder = made.registered()["edge"]
            pid = fleet.processes.pid(holder)
            before = provider.registrations("4420")
            os.kill(pid, signal_number)
            begun = time.monotonic()

            def elsewhere(holder=holder, before=before):
                new = provider.registrations("4420")[len(before) :]
                return new if new and state else None

            new = wait_for("another edge to register", elsewhere, LEASE_BOUND)
            assert time.monotonic() - begun > 8  # not before the lease is over
            assert new[0].source.split(":")[0] != before[-1].source.split(":")[0]
            assert new[0].call_id == before[-1].call_id
            assert new[0].cseq > before[-1].cseq
            if signal_number == signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
                time.sleep(8)
                sources = [item.source for item in provider.registrations("4420")[len(before) :]]
                assert len(set(sources)) == 1  # whoever slept doesn't register any more
                fleet.wait_ready(next(edge for edge in fleet.edges if edge.id == holder))
    finally:
        provider.stop()


def test_a_changed_password_acts_and_wrong_ones_are_shown(made, tmp_path):
    provider = Kamailio(tmp_path, made.place, NAME)
    try:
        made.add(host=made.place.address, from_domain=NAME, password="wrong")

        def failing():
            state = made.state()
            return state if state["state"] == "failing" else None

        state = wait_for("the wrong password to be noticed", failing, 10)
        assert state["last_status"] == 401
        assert "refuses the user name or password" in state["reason"]
        assert state["next_attempt"] > time.time() + 60
        made.fleet.client.api("PATCH", f"/v1/providers/voip?tenant={made.tenant}", {"password": "secret"})
        made.registered(seconds=10)
        made.fleet.client.api("DELETE", f"/v1/providers/voip?tenant={made.tenant}")
        wait_for("the deleted account to be unregistered", lambda: provider.registrations("4420")[1:], 10)
    finally:
        provider.stop()


def test_private_hosts_are_refused_unless_allowed(tmp_path):
    one = Set(tmp_path)
    for edge in one.fleet.edges:
        edge.settings["provider_networks"] = []
    try:
        one.fleet.start()
        one.add(host="127.0.0.1")

        def failing():
            state = one.state()
            return state if state["state"] == "failing" else None

        assert "isn't public" in wait_for("the refusal", failing, 10)["reason"]
    finally:
        one.fleet.stop()
        one.dns.close()


def test_awkward_providers_and_a_message_waiting(made, tmp_path):
    """SIPp: 423, then 503; the next server sends us on to one that counts wrongly; it has voicemail for us."""
    prefix = made.place.address.rpartition(".")[0]
    places = {name: f"{prefix}.{last}" for name, last in (("a", 21), ("b", 22), ("c", 23))}
    made.dns.records = {
        (f"_sip._udp.{NAME}", "SRV"): ["10 1 5060 a.voip.test.", "20 1 5060 b.voip.test."],
        **{(f"{name}.voip.test", "A"): [address] for name, address in places.items()},
    }
    processes = Processes(tmp_path / "sipp")

    def sipp(scenario, address, line):
        fields = tmp_path / f"{scenario}.csv"
        fields.write_text(f"SEQUENTIAL\n{line}\n")
        return [
            "sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", address, "-p", "5060", "-m", "1",
            "-inf", str(fields), "-nostdin", "-nd", "-timeout", "30s", "-timeout_error",
        ]  # fmt: skip

    try:
        with made.phone("bob", 1) as bob:
            assert bob.register() == 200
            for name, address in places.items():
                processes.start(name, sipp(f"provider_{name}", address, f"{places['c']}:5060"), {})
            made.add(expires=120, message_waiting=[f"bob@{DOMAIN}"])
            got = bob.wait(lambda: bob.agent.requests("NOTIFY"), 20)[0]
            assert b"Voice-Message: 3/0" in got.body
            bob.send(bob.agent.response(got, 200).to_bytes())
            for name in places:
                assert processes.wait(name, 20) == 0, processes.last_words(name)
            state = made.registered()
            assert state["server"] == f"udp:{places['c']}:5060"
            assert state["expires"] - time.time() <= 900
    finally:
        processes.stop_all()
