"""Limits, suspensions and bans, at both edges."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge.sip.transaction.client import make_cancel
from lambdas.api.provisioning.bounds import Limits
from lambdas.decisions.abuse import BAN_AFTER
from scripts.fleet_parts import SIP, Host, PhoneAccount, development_client
from scripts.processes import wait_for
from tests.integration.test_bulk import in_the_directory
from tests.integration.test_provisioning import ask, tenant
from tests.support.pace import slowness
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture

PASSWORD = "correct horse"
_hosts = itertools.count(100)


class Office:
    """A tenant with accounts a, b and c."""

    def __init__(self, fleet, tenant):
        self.fleet = fleet
        self.tenant, self.key, self.domain = tenant
        for user in "abc":
            body = {"username": user, "domain": self.domain, "password": PASSWORD}
            assert ask(fleet, self.key, "POST", "/v1/accounts", body)[0] == 201
        self._stack = contextlib.ExitStack()
        for edge in (0, 1):  # both know the domain from here on
            one = self.phone("c", edge)
            assert one.transact(one.agent.register_request(0)).status == 200

    def api(self, method, path, body=None):
        status, answer = ask(self.fleet, self.key, method, path, body)
        assert status < 300, answer
        return answer

    def as_administrator(self, method, path, body=None):
        return self.fleet.client.api(method, path, body)

    def limit(self, user, **limits):
        return self.api("PATCH", f"/v1/accounts/{self.aor(user)}", {"limits": limits})

    def aor(self, user):
        return f"{user}@{self.domain}"

    def phone(self, user, edge, host="", password=PASSWORD, register=True):
        one = self.fleet.edges[edge]
        account = PhoneAccount(self.aor(user), user, password)
        made = SocketPhone(account, self.domain, Host(host or one.host.address), (one.address, SIP))
        self._stack.enter_context(made)
        if register:
            wait_for(f"{user} to be registered", lambda: made.register() == 200, 10)
        return made

    def fresh_host(self):
        return f"{self.fleet.control.address.rpartition('.')[0]}.{next(_hosts)}"

    def usage(self, user):
        return self.api("GET", f"/v1/accounts/{self.aor(user)}/usage")

    def free(self, user):
        wait_for("the calls to be over", lambda: self.usage(user)["calls"] == 0, 15)

    def events(self, kind="abuse"):
        day = datetime.datetime.now(datetime.UTC).date()
        return [one["text"] for one in self.api("GET", f"/v1/events?kind={kind}&day={day}")["items"]]

    def close(self):
        self._stack.close()


@pytest.fixture
def office(fleet, tenant):
    made = Office(fleet, tenant)
    yield made
    made.close()


def refused(phone, uri):
    invite = phone.invite(uri)
    final = phone.wait(lambda: phone.agent.final(invite))
    assert final.status == 403, final.start_line
    return final.reason


def hang_up_all(*phones):
    """Each answers a BYE; all of them have to get one."""
    for one in phones:
        bye = one.wait(lambda one=one: one.agent.requests("BYE"), 12)[0]
        one.send(one.agent.response(bye, 200).to_bytes())


def test_calls_at_once_are_counted_at_both_edges_together(office):
    office.limit("a", concurrent_calls=3)
    callee = office.phone("b", 1)
    callers = [office.phone("a", n % 2) for n in range(2)]
    # Calls of one account from eight places at once.
    ringers = [office.phone("a", n % 2, register=False) for n in range(8)]
    found, invites = [], {}

    def ring(one):
        invite = invites[one] = one.invite(f"sip:{office.aor('b')}")
        final = one.wait(lambda: one.agent.final(invite) or (180 in one.agent.statuses("INVITE")), 20)
        found.append(getattr(final, "status", 180))

    threads = [threading.Thread(target=ring, args=(one,)) for one in ringers]
    for thread in threads:
        thread.start()
    answered = set()
    while any(thread.is_alive() for thread in threads):
        callee.idle(0.05)
        for invite in callee.agent.requests("INVITE"):
            if invite.get("call-id") not in answered:
                answered.add(invite.get("call-id"))
                callee.send(callee.agent.response(invite, 180).to_bytes())
    assert sorted(found) == [180] * 3 + [403] * 5
    assert office.usage("a")["calls"] == 3
    assert "3 calls at once" in refused(callers[0], f"sip:{office.aor('b')}")
    for invite in callee.agent.requests("INVITE"):
        callee.send(callee.agent.response(invite, 486).to_bytes())
    office.free("a")
    # An answered call counts until it ends.
    office.limit("a", concurrent_calls=1)
    dialog, _ = call(callers[1], callee, f"sip:{office.aor('b')}")
    assert "1 calls at once" in refused(callers[0], f"sip:{office.aor('b')}")
    in_dialog(callers[1], dialog, "BYE", callee)
    office.free("a")
    dialog, _ = call(callers[0], callee, f"sip:{office.aor('b')}")
    in_dialog(callers[0], dialog, "BYE", callee)


def test_calls_of_one_call_id_count_each(office):
    """The caller chooses it; the end of one frees the room of none but itself."""
    with Out(office) as out:
        office.limit("a", concurrent_calls=2, calls_per_day=3)
        callee = office.phone("b", 1)
        one, other, third = office.phone("a", 0), office.phone("a", 1), office.phone("a", 0)
        uri = f"sip:02079460000@{office.domain}"
        phones = []
        for phone in (one, other):
            out.phone.agent.received.clear()
            phone.agent.fixed_call_id = "the-same-call"
            phones.append(call(phone, out.phone, uri)[0])
        assert office.usage("a")["calls"] == 2
        third.agent.fixed_call_id = "the-same-call"
        third.agent.received.clear()
        assert "2 calls at once" in refused(third, f"sip:{office.aor('b')}")
        assert office.usage("a")["calls"] == 2
        in_dialog(one, phones[0], "BYE", out.phone)
        wait_for("one to be over", lambda: office.usage("a")["calls"] == 1, 15)
        # One that fails frees its own room, and not that of the other one.
        third.agent.received.clear()
        invite = third.invite(f"sip:{office.aor('b')}")
        got = callee.wait(lambda: next(iter(callee.agent.requests("INVITE")), None))
        callee.send(callee.agent.response(got, 486).to_bytes())
        assert third.wait(lambda: third.agent.final(invite)).status == 486
        wait_for("it to be over", lambda: office.usage("a")["calls"] == 1, 15)
        third.agent.received.clear()
        assert "calls_per_day" in refused(third, f"sip:{office.aor('b')}")
        in_dialog(other, phones[1], "BYE", out.phone)
        office.free("a")


def test_a_call_given_up_at_once_counts_no_more(office):
    office.limit("a", concurrent_calls=2)
    alice, bob = office.phone("a", 0), office.phone("b", 1)

    def give_up():
        """Whoever it rang all the same, since the decision was quicker than the CANCEL."""
        bob.read(0)
        for got in bob.agent.requests("INVITE"):
            bob.send(bob.agent.response(got, 487).to_bytes())

    uri = f"sip:{office.aor('b')}"
    for _ in range(4):
        invite = alice.invite(uri)
        alice.send(make_cancel(invite).to_bytes())
        assert alice.wait(lambda invite=invite: alice.agent.final(invite), also=give_up).status == 487
        give_up()
        office.free("a")
    bob.forget()
    begun = time.monotonic()
    while not bob.new_call():  # the last ones may be counted only now, until the edge has told of their end
        invite = alice.invite(uri)
        alice.wait(
            lambda invite=invite: alice.agent.final(invite) or bob.new_call(),
            also=lambda: bob.read(0),
        )
        assert bob.new_call() or alice.agent.final(invite).status == 403
        assert time.monotonic() - begun < 15
    bob.send(bob.agent.response(bob.new_call(), 486).to_bytes())
    assert alice.wait(lambda: alice.agent.final(invite)).status == 486


def test_many_calls_at_once_take_turns(office):
    """An admission that meets others waits for them; a limit that isn't reached refuses nobody."""
    office.as_administrator("PATCH", f"/v1/tenants/{office.tenant}/bounds", {"limits": {"concurrent_calls": 100}})
    callers = [office.phone("a", n % 2, register=not n) for n in range(12)]
    invites = {one: one.agent.invite_request(f"sip:{office.aor('b')}") for one in callers}
    with ThreadPoolExecutor(len(callers)) as pool:
        finals = list(pool.map(lambda one: one.transact(invites[one], 20).status, callers))
    assert finals == [480] * 12  # nobody is there; but nobody was refused


def test_calls_in_a_minute_and_in_a_day(office):
    if time.time() % 60 > 45:
        time.sleep(61 - time.time() % 60)  # all of it has to happen within one
    office.as_administrator("PATCH", f"/v1/tenants/{office.tenant}/bounds", {"limits": {"calls_per_minute": 4}})
    office.api("PATCH", f"/v1/tenants/{office.tenant}", {"account_limits": {"calls_per_day": 3}})
    callee = office.phone("c", 1)
    one, other = office.phone("a", 0), office.phone("b", 1)

    def busy(phone):
        callee.agent.received.clear()
        invite = phone.invite(f"sip:{office.aor('c')}")
        got = callee.wait(lambda: next(iter(callee.agent.requests("INVITE")), None))
        callee.send(callee.agent.response(got, 486).to_bytes())
        assert phone.wait(lambda: phone.agent.final(invite)).status == 486

    for _ in range(3):
        busy(one)
    assert "calls_per_day" in refused(one, f"sip:{office.aor('c')}")
    busy(other)
    assert "calls_per_minute" in refused(other, f"sip:{office.aor('c')}")
    assert office.usage("a")["today"] == 3
    assert office.api("GET", f"/v1/tenants/{office.tenant}/usage")["this_minute"] == 4


def test_a_phone_too_many(office):
    office.limit("a", registrations=1)
    office.phone("a", 0)
    other = office.phone("a", 1, register=False)
    assert other.register() == 403


def test_phones_too_many_at_the_same_moment(office):
    office.limit("a", registrations=2)
    phones = [office.phone("a", n % 2, register=False) for n in range(8)]
    with ThreadPoolExecutor(len(phones)) as pool:
        statuses = list(pool.map(lambda one: one.register(), phones))
    assert set(statuses) <= {200, 403, 503}
    there = office.api("GET", f"/v1/accounts/{office.aor('a')}/bindings")
    assert len(there) == statuses.count(200) <= 2


class Out:
    """A provider of the office's, with a socket of its own."""

    def __init__(self, office):
        host = office.fresh_host()
        edge = office.fleet.edges[0]
        account = PhoneAccount("provider", "provider", "x")
        self.phone = SocketPhone(account, host, Host(host), (edge.address, SIP), port=5062)
        body = {
            "tenant": office.tenant, "name": "out", "host": host, "port": 5062, "username": "4420",
            "password": "secret", "registers": False,
        }  # fmt: skip
        office.as_administrator("POST", "/v1/providers", body)
        routes = [{"prefix": "", "providers": ["out"]}]
        office.api("PATCH", f"/v1/tenants/{office.tenant}", {"country": "GB", "outbound_routes": routes})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.phone.socket.close()


def test_another_tenants_trunk_is_out_of_reach(office, fleet):
    """By a plan, by its address and by an own provider account; the trunk hears nothing of it."""
    owner = fleet.client.api("POST", "/v1/tenants", {"name": "Victim"})["id"]
    host = office.fresh_host()
    trunk = {"name": "trunk", "host": host, "port": 5062, "username": "u", "password": "p" * 8, "registers": False}
    status, refusal = ask(fleet, office.key, "POST", "/v1/providers", {**trunk, "name": "mine"})
    assert (status, "administration key" in refusal["detail"]) == (403, True)
    fleet.client.api("POST", "/v1/providers", {"tenant": owner, **trunk})
    with SocketPhone(PhoneAccount("x", "x", "x"), host, Host(host), (fleet.edges[0].address, SIP), port=5062) as victim:
        alice = office.phone("a", 0)
        plan = {"rules": [{"name": "all", "ring": {"legs": [{"uri": f"sip:+449098790000@{host}:5062"}]}}]}
        office.api("POST", "/v1/plans/out/versions", {"plan": plan, "publish": True})
        office.api("PATCH", f"/v1/tenants/{office.tenant}", {"outgoing_plan": "out", "country": "GB"})

        time.sleep(6)  # the list of all providers is 5 s old at most
        invite = alice.invite(f"sip:12345@{office.domain}")
        assert alice.wait(lambda: alice.agent.final(invite)).status == 480
        assert any("a provider of somebody else's" in text for text in office.events("plan"))
        # an own account at the same place: whose calls another is trusted by
        own = {**trunk, "name": "own", "registers": True}
        office.api("POST", "/v1/providers", own)
        status, refusal = ask(fleet, office.key, "PATCH", "/v1/providers/own", {"registers": False})
        assert status == 403
        routes = [{"prefix": "", "providers": ["own"]}]
        office.api("PATCH", f"/v1/tenants/{office.tenant}", {"outgoing_plan": "", "outbound_routes": routes})
        invite = alice.invite(f"sip:02079460000@{office.domain}")
        assert alice.wait(lambda: alice.agent.final(invite)).status == 404
        time.sleep(1)
        assert victim.agent.requests("INVITE") == []
    # Where nobody has an account any more anybody may call.
    fleet.client.request("DELETE", f"/v1/providers/trunk?tenant={owner}")
    office.api("DELETE", "/v1/providers/own")
    table = development_client("dynamodb", fleet.endpoint)
    items = table.scan(TableName="sipwizard-directory", FilterExpression="host = :h",
        ExpressionAttributeValues={":h": {"S": host}})["Items"]  # fmt: skip
    assert items == []


def test_numbers_that_may_be_called(office):
    with Out(office) as out:
        alice = office.phone("a", 0)
        assert "(international)" in refused(alice, f"sip:+33123456789@{office.domain}")
        assert "(premium)" in refused(alice, f"sip:09098790000@{office.domain}")
        asked_for = {"premium": True, "international": True}
        office.api("PATCH", f"/v1/tenants/{office.tenant}", asked_for)
        office.limit("a", allowed_prefixes=["+44"], blocked_prefixes=["+449"])
        assert refused(alice, f"sip:+33123456789@{office.domain}") == (
            "Forbidden: calls to +33123456789 are not allowed"
        )
        # However it is dialled: a code is no part of it.
        for dialled in ("09098790000", "*31%2300449098790000", "14109098790000", "147009098790000"):
            assert refused(alice, f"sip:{dialled}@{office.domain}") == (
                "Forbidden: calls to +449098790000 are not allowed"
            )
        for dialled in ("004490987900009999", "090987900009999999", "00000000000000", "9990909879000"):
            assert "nobody can tell" in refused(alice, f"sip:{dialled}@{office.domain}")
        assert "chooses a carrier" in refused(alice, f"sip:128009098790000@{office.domain}")
        assert "no number begins with +0" in refused(alice, f"sip:+0449098790000@{office.domain}")
        call(alice, out.phone, f"sip:14102079460000@{office.domain}")
        invite = out.phone.agent.requests("INVITE")[0]
        assert (invite.uri.partition("@")[0], invite.get("privacy")) == ("sip:+442079460000", "id")


def test_emergency_calls_go_through_and_are_told(office):
    with Out(office) as out:
        alice = office.phone("a", 0)
        office.api("PATCH", f"/v1/tenants/{office.tenant}", {"emergency_providers": ["out"]})
        office.limit("a", calls_per_day=0)
        assert "calls_per_day" in refused(alice, f"sip:02079460000@{office.domain}")
        suspension = f"/v1/accounts/{office.aor('a')}/suspension"
        office.api("PUT", suspension, {"reason": "unpaid"})
        assert "suspended" in refused(alice, f"sip:02079460000@{office.domain}")
        dialog, _ = call(alice, out.phone, f"sip:999@{office.domain}")
        assert out.phone.agent.requests("INVITE")[0].uri.startswith("sip:999@")
        wait_for("it to be told", lambda: office.events("emergency"), 5)
        assert office.events("emergency") == [f"{office.aor('a')} has called 999, though it is suspended or disabled"]
        # Suspending it once more doesn't end the call.
        office.api("DELETE", suspension)
        office.api("PUT", suspension, {"reason": "fraud"})
        alice.idle(3)
        assert not alice.agent.requests("BYE")
        in_dialog(alice, dialog, "BYE", out.phone)


def test_a_call_ends_when_it_is_too_long(office):
    office.limit("a", max_call_seconds=2)
    alice, bob = office.phone("a", 0), office.phone("b", 1)
    begun = time.monotonic()
    call(alice, bob, f"sip:{office.aor('b')}")
    hang_up_all(alice, bob)
    assert 2 <= time.monotonic() - begun < 8 * slowness()


def test_the_days_money(office):
    with Out(office) as out:
        rates = {"rates": [{"prefix": "+44", "per_minute": 60}, {"prefix": "", "per_minute": 0}]}
        office.as_administrator("PATCH", f"/v1/tenants/{office.tenant}/bounds", rates)
        office.limit("a", daily_spend=6.0)
        alice = office.phone("a", 0)
        begun = time.monotonic()
        call(alice, out.phone, f"sip:02079460000@{office.domain}")
        hang_up_all(alice, out.phone)
        assert 5 <= time.monotonic() - begun < 12 * slowness()  # one a second
        office.free("a")
        spent = office.usage("a")["spent_today"]
        assert 6 <= spent < 12 * slowness()
        assert "6 spent today" in refused(alice, f"sip:02079460000@{office.domain}")
        office.limit("a", daily_spend=spent + 8)
        # Two calls use it up twice as fast: both end after four seconds and not after eight.
        other = office.phone("a", 1)
        begun = time.monotonic()
        call(alice, out.phone, f"sip:02079460000@{office.domain}")
        out.phone.agent.received.clear()
        call(other, out.phone, f"sip:02079460001@{office.domain}")
        alice.agent.received.clear()
        hang_up_all(alice, other)
        assert 3 <= time.monotonic() - begun < 8.5 * slowness()


def test_a_suspended_account_is_out_everywhere_within_ten_seconds(office):
    alice, bob = office.phone("a", 0), office.phone("b", 1)
    elsewhere = office.phone("a", 1)
    call(alice, bob, f"sip:{office.aor('b')}")
    begun = time.monotonic()
    path = f"/v1/accounts/{office.aor('a')}/suspension"
    assert office.api("PUT", path, {"reason": "unpaid"})["suspended"] == "unpaid"
    hang_up_all(alice, bob)
    wait_for("both edges to refuse it", lambda: (alice.register(), elsewhere.register()) == (403, 403), 10)
    assert time.monotonic() - begun < 10 * slowness()
    assert "suspended" in refused(elsewhere, f"sip:{office.aor('b')}")
    invite = bob.invite(f"sip:{office.aor('a')}")
    assert bob.wait(lambda: bob.agent.final(invite)).status == 480
    assert office.events() == [f"{office.aor('a')} is suspended: unpaid"]
    assert office.api("DELETE", path)["suspended"] == ""
    wait_for("it to be back", lambda: alice.register() == 200, 10)


def test_a_call_that_rings_while_its_account_is_suspended_ends_once_it_is_answered(office):
    alice, bob = office.phone("a", 0), office.phone("b", 1)
    invite = alice.invite(f"sip:{office.aor('b')}")
    incoming = bob.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    office.api("PUT", f"/v1/accounts/{office.aor('a')}/suspension", {"reason": "unpaid"})
    bob.send(bob.agent.response(incoming, 200).to_bytes())
    answer = alice.wait(lambda: alice.agent.final(invite))
    assert answer.status == 200
    dialog = alice.agent.caller_dialog(invite, answer)
    alice.send(alice.agent.in_dialog(dialog, "ACK").to_bytes())
    hang_up_all(alice, bob)


def test_a_suspended_tenant_is_out_everywhere_within_ten_seconds(office):
    alice, bob = office.phone("a", 0), office.phone("b", 1)
    call(alice, bob, f"sip:{office.aor('b')}")
    begun = time.monotonic()
    path = f"/v1/tenants/{office.tenant}/suspension"
    assert ask(office.fleet, office.key, "PUT", path, {"reason": "fraud"})[0] == 403
    office.as_administrator("PUT", path, {"reason": "fraud"})
    hang_up_all(alice, bob)
    wait_for("both edges to refuse it", lambda: (alice.register(), bob.register()) == (403, 403), 10)
    assert time.monotonic() - begun < 10 * slowness()
    office.as_administrator("DELETE", path)
    wait_for("it to be back", lambda: (alice.register(), bob.register()) == (200, 200), 10)


def test_guessing_suspends_an_account(office):
    rules = {"suspension_rules": {"failures": 6, "sources": 3}}
    office.api("PATCH", f"/v1/tenants/{office.tenant}", rules)
    office.phone("a", 0)
    hosts = [office.fresh_host() for _ in range(3)]
    for n in range(6):
        guesser = office.phone("a", n % 2, hosts[n % 3], f"guess number {n}", register=False)
        assert guesser.register() == 403
    shown = wait_for("it to be suspended", lambda: office.api("GET", f"/v1/accounts/{office.aor('a')}")["suspended"], 5)
    assert shown == "6 failed authentications from 3 addresses in 10 minutes"
    assert office.events() == [f"{office.aor('a')} is suspended: {shown}"]


def test_a_burst_to_new_premium_numbers_suspends_an_account(office):
    rules = {"premium": True, "suspension_rules": {"premium_prefixes": ["+449"], "premium_calls": 3}}
    with Out(office) as out:
        office.api("PATCH", f"/v1/tenants/{office.tenant}", rules)
        alice = office.phone("a", 0)
        for n in range(2):
            invite = alice.invite(f"sip:0909879000{n}@{office.domain}")
            got = out.phone.wait(lambda n=n: out.phone.agent.requests("INVITE")[n:])[0]
            out.phone.send(out.phone.agent.response(got, 486).to_bytes())
            assert alice.wait(lambda invite=invite: alice.agent.final(invite)).status == 486
        assert "suspended" in refused(alice, f"sip:09098790003@{office.domain}")
        assert "3 calls to new premium numbers (+449)" in office.events()[0]
        assert "suspended" in refused(alice, f"sip:02079460000@{office.domain}")


_PREMIUM = """
import json, sys, time
from lambdas.repositories.abuse import Abuse

abuse, now = Abuse(), time.time() // 600 * 600 + 1
print(json.dumps([abuse.called_premium(sys.argv[1], prefix, attempt, now)[0] for attempt, prefix in (
    ("one", "+449"), ("one", "+449"), ("one", "+4487"), ("two", "+449"), ("two", "+449"))]))
"""


def test_a_call_to_a_premium_number_counts_once(fleet, tenant):
    """However often its dial plan is asked."""
    assert json.loads(in_the_directory(fleet, _PREMIUM, f"{tenant[0]} premium")) == [1, 1, 2, 3, 3]


def test_nothing_is_taken_from_a_banned_network(office):
    host = office.fresh_host()
    there = office.phone("a", 0, host)
    made = office.as_administrator("POST", "/v1/bans", {"network": host, "reason": "a test", "seconds": 600})
    assert made["network"] == host

    def heard(edge):
        """Whether somebody new is, there."""
        one = office.phone("a", edge, host, register=False)
        try:
            return one.transact(one.agent.request("OPTIONS", f"sip:{office.domain}"), 0.7).status == 200
        except AssertionError:
            return False

    wait_for("both edges to drop it", lambda: not any(heard(edge) for edge in (0, 1)), 10)
    assert there.register() == 200  # it has been there before, and begins nothing
    assert office.phone("b", 0).register() == 200  # others aren't
    status, problem = office.fleet.client.request("POST", "/v1/bans", {"network": office.fleet.edges[0].host.address})
    assert (status, "edge's own address" in problem["detail"]) == (409, True)
    assert office.fleet.client.request("POST", "/v1/bans", {"network": "0.0.0.0/0"})[0] == 422
    assert [one["network"] for one in office.fleet.client.api("GET", "/v1/bans")["items"]] == [host]
    office.as_administrator("DELETE", f"/v1/bans/{host}")
    wait_for("both edges to hear it", lambda: all(heard(edge) for edge in (0, 1)), 10)


_CHARGED = """
import json, sys, time
from lambdas.contract import CallAnswered, CallEnded
from lambdas.repositories.calls import Calls
from lambdas.repositories.usage import UsageTable

tenant, order = sys.argv[1:]
usage, now = UsageTable(), time.time()
scope = f"{tenant} {order}"
told = dict(tenant=tenant, call=f"{order:0<16}", started=int(now) - 70)
report = CallAnswered(
    **told, call_id=order, caller="a", called="b", answered=now - 60, edges=("", ""), counted=[scope]
)
for kind in order:
    if kind == "a":
        Calls(usage).answered(report, 0.6)
    else:
        Calls(usage).ended(CallEnded(**told, ended=now - 1))
print(json.dumps(usage.sums(scope, now)))
"""


@pytest.mark.parametrize("order", ["ae", "aeae", "aaee", "ea", "eaea", "aea"])
def test_a_call_is_charged_once_however_often_and_in_whatever_order_it_is_reported(fleet, tenant, order):
    owner, _, _ = tenant
    found = json.loads(in_the_directory(fleet, _CHARGED, owner, order))
    assert (round(found["spent_today"], 2), found["calls"]) == (0.59, 0)


_STOPPED = """
import json, sys, time
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite
from lambdas.contract import CallAnswered, CallEnded
from lambdas.decisions.limits import CallLimits
from lambdas.repositories.call_keys import OPEN, key_of
from lambdas.repositories.calls import Calls
from lambdas.repositories.call_models import CallItem
from lambdas.repositories.usage import UsageTable

class Stopped(Exception):
    pass

left = None

def counted(write):
    def instead(*arguments, **more):
        global left
        if left == 0:
            raise Stopped
        if left is not None:
            left -= 1
        return write(*arguments, **more)
    return instead

for kind, name in ((Model, "save"), (Model, "update"), (Model, "delete"), (TransactWrite, "_commit")):
    setattr(kind, name, counted(getattr(kind, name)))

tenant, usage, now, found = sys.argv[1], UsageTable(), time.time(), []
for after in sys.argv[2:]:  # a report of the end comes first, before it is repeated, or last
    for stop in range(20):
        name = f"{tenant} {after} {stop}"
        told = dict(tenant=tenant, call=name, started=int(now) - 70)
        report = CallAnswered(
            **told, call_id=name, caller="a", called="b", answered=now - 60, edges=("", ""), counted=[name], attempt=name
        )
        assert not isinstance(usage.admit(name, CallLimits(concurrent_calls=9), name, now - 70), str)
        whole = True
        for kind in after:
            if kind == "e":
                Calls(usage).ended(CallEnded(**told, ended=now - 1))
                continue
            left = stop if kind == "s" else None
            try:
                Calls(usage).answered(report, 0.6)
            except Stopped:
                whole = False
            left = None
        sums = usage.sums(name, now)
        opened = CallItem.count(key_of(report, OPEN)[0], CallItem.sk == key_of(report, OPEN)[1])
        found.append([after, stop, round(sums["spent_today"], 2), sums["calls"], opened])
        if whole:
            break
print(json.dumps(found))
"""


def test_a_report_that_stops_half_way_and_comes_again_is_as_one(fleet, tenant):
    """After each of its writes, with the call's end reported before, in between, or afterwards: the call is charged once,
    and nothing of it stays."""
    owner, _, _ = tenant
    found = json.loads(in_the_directory(fleet, _STOPPED, owner, "esa", "sea", "sae"))
    assert all((spent, calls, opened) == (0.59, 0, 0) for _, _, spent, calls, opened in found), found
    # Its writes: the record, the open call and the slot; where the end is known, the charge and the open call's end.
    assert [max(stop for order, stop, *_ in found if order == one) for one in ("esa", "sea", "sae")] == [5, 3, 3]


_JOINED = """
import json, sys, time
from lambdas.contract import CallAnswered, CallEnded, CallName, CallTransferred, MediaQuality, Side
from lambdas.repositories.calls import Calls
from lambdas.repositories.usage import UsageTable

tenant, order = sys.argv[1:]
usage, now, scope = UsageTable(), time.time(), f"{tenant} {order}"
calls = Calls(usage)
names = {name: dict(tenant=tenant, call=f"{order}{name}", started=int(now) - 70) for name in "abc"}

def answered(name, address):
    side = Side(uri=f"sip:{name}", sender="", receiver="", call_id="", cseq=1)
    calls.answered(CallAnswered(**names[name], call_id=name, caller="x", called="y", answered=now - 60,
        edges=(address, ""), counted=[scope], attempt=f"{order}{name}", sides=[side], transferred_by=f"by {name}"), 0.6)

def transferred(one, other):
    to = names[other]
    calls.transferred(CallTransferred(**names[one], to=to["call"], to_started=to["started"], at=now - 30))

seen = []
for step in order:
    if step in "abc":
        answered(step, f"{tenant} {step}")
    elif step in "12":
        transferred(*{"1": "ab", "2": "bc"}[step])
    elif step == "s":  # somebody who has left the call is suspended: whom does that reach?
        found = [f"{tenant} {name}" for name in "abc"]
        calls.open.hang_up(found, tenant, "by a", now)
        seen += [(one.call[-1], one.sides[0].uri) for name in found for one in calls.open.overdue(name, now + 1, 9)]
    else:
        heard = MediaQuality(side="caller", packets=1)
        calls.ended(CallEnded(**names[step.lower()], ended=now - 1, by="called", media="relayed", quality=[heard]))
ends = {name: calls.one(tenant, names[name]["started"], names[name]["call"]) for name in "abc"}
with_it = {name: [one.call[-1] for one in calls.ended_with(CallName(**names[name]))] for name in "abc"}
print(json.dumps([
    usage.sums(scope, now), [name for name, one in ends.items() if one and one.ended], seen, with_it,
    [one and one.account for one in ends.values()],
    [name for name, one in ends.items() if one and one.quality and one.media],
]))
"""


@pytest.mark.parametrize(
    ("order", "spent", "ended"),
    [
        ("ab1B", 1.18, "ab"),
        ("ab1A", 1.18, "ab"),  # whichever is told
        ("aabb11BB", 1.18, "ab"),
        ("abB1", 1.18, "ab"),  # known before the transfer is
        ("abB", 1.19, "b"),  # the other one goes on
        ("abc12C", 1.77, "abc"),
        ("ab1bc2A", 1.77, "abc"),
        ("abc12sC", 1.77, "abc"),
    ],
)
def test_a_call_that_was_put_through_costs_until_it_ends_as_another(fleet, tenant, order, spent, ended):
    owner, _, _ = tenant
    sums, over, seen, with_it, accounts, heard = json.loads(in_the_directory(fleet, _JOINED, owner, order))
    assert (round(sums["spent_today"], 2), "".join(over)) == (spent, ended)
    assert accounts[0] == "by a"
    assert heard == sorted({step.lower() for step in order if step in "ABC"})
    if order[-1] in "ABC" and len(ended) > 1:  # whoever is told of one end is told of the others
        assert sorted([order[-1].lower(), *with_it[order[-1].lower()]]) == list(ended)
    assert seen == ([["a", "sip:c"]] if "s" in order else [])  # its present sides


def test_prefixes_need_a_country(office):
    tenant, account = f"/v1/tenants/{office.tenant}", f"/v1/accounts/{office.aor('a')}"
    prefixes = {"blocked_prefixes": ["+449"]}
    rules = {"suspension_rules": {"premium_prefixes": ["+449"]}}
    as_administrator = office.fleet.client.key
    given = [
        (office.key, account, {"limits": prefixes}),
        (office.key, account, {"limits": {"allowed_prefixes": ["+44"]}}),
        (office.key, tenant, {"account_limits": prefixes}),
        (office.key, tenant, rules),
        (as_administrator, f"{tenant}/bounds", {"limits": prefixes}),
        (as_administrator, f"{tenant}/bounds", {"rates": [{"prefix": "+44", "per_minute": 0.1}]}),
    ]
    for key, path, body in given:
        status, problem = ask(office.fleet, key, "PATCH", path, body)
        assert (status, "`country` first" in problem["detail"]) == (422, True), body
    assert office.api("PATCH", tenant, {"country": "GB", **rules})["country"] == "GB"
    status, problem = ask(office.fleet, office.key, "PATCH", account, {"limits": {"blocked_prefixes": ["0909"]}})
    assert (status, "with +44" in problem["detail"]) == (422, True)
    for key, path, body in given:
        assert ask(office.fleet, key, "PATCH", path, body)[0] == 200, body
    office.as_administrator("PATCH", f"{tenant}/bounds", {"rates": [], "limits": {"blocked_prefixes": None}})
    office.api("PATCH", tenant, {"account_limits": {"blocked_prefixes": None}})
    office.api("PATCH", tenant, {"suspension_rules": {"premium_prefixes": []}})
    # The account's are left.
    status, problem = ask(office.fleet, office.key, "PATCH", tenant, {"country": ""})
    assert (status, "+449" in problem["detail"] or "+44" in problem["detail"]) == (422, True)
    office.limit("a", blocked_prefixes=None, allowed_prefixes=None)
    assert office.api("PATCH", tenant, {"country": ""})["country"] == ""


def test_a_change_of_one_limit_leaves_the_others(office):
    office.api("PATCH", f"/v1/tenants/{office.tenant}", {"country": "GB"})
    office.limit("a", concurrent_calls=2, blocked_prefixes=["+449"])
    assert office.limit("a", daily_spend=1.5)["limits"] == {
        **dict.fromkeys(Limits.model_fields), "concurrent_calls": 2, "blocked_prefixes": ["+449"], "daily_spend": 1.5,
    }  # fmt: skip
    assert office.limit("a", concurrent_calls=None)["limits"]["concurrent_calls"] is None
    kept = office.api("PATCH", f"/v1/accounts/{office.aor('a')}", {"limits": None})["limits"]
    assert kept["daily_spend"] == 1.5  # as if it were left out
    tenant = f"/v1/tenants/{office.tenant}"
    office.api("PATCH", tenant, {"suspension_rules": {"failures": 7}})
    rules = office.api("PATCH", tenant, {"suspension_rules": {"premium_prefixes": ["+449"]}})["suspension_rules"]
    assert (rules["failures"], rules["sources"], rules["premium_prefixes"]) == (7, 3, ["+449"])
    office.as_administrator("PATCH", f"{tenant}/bounds", {"limits": {"calls_per_day": 9}})
    assert office.as_administrator("PATCH", f"{tenant}/bounds", {"limits": {"calls_per_minute": 3}})["limits"][
        "calls_per_day"
    ] == 9  # fmt: skip


def test_what_was_banned_once_can_be_banned_again(office):
    body = {"network": office.fresh_host(), "reason": "once", "seconds": 1}
    made = office.as_administrator("POST", "/v1/bans", body)
    assert office.fleet.client.request("POST", "/v1/bans", body)[0] == 409
    wait_for("it to run out", lambda: time.time() > made["until"], 5)
    again = office.as_administrator("POST", "/v1/bans", {**body, "reason": "again", "seconds": 600})
    assert [one["reason"] for one in office.fleet.client.api("GET", "/v1/bans")["items"]] == ["again"]
    assert again["until"] > made["until"]
    office.as_administrator("DELETE", f"/v1/bans/{body['network']}")


def test_a_source_that_guesses_a_lot_is_banned(office):
    """From where somebody is known, so that it isn't slowed down: others need minutes to get so far."""
    host = office.fresh_host()
    office.phone("a", 0, host)
    for number in range(BAN_AFTER):
        guesser = office.phone(f"nobody{number}", 0, host, "x" * 10, register=False)
        assert guesser.register() == 403
    bans = {one["network"]: one["reason"] for one in office.fleet.client.api("GET", "/v1/bans")["items"]}
    assert bans[host] == f"{BAN_AFTER} failed authentications"
    office.as_administrator("DELETE", f"/v1/bans/{host}")


_TWICE = """
import json, sys, threading, time
from lambdas.decisions.limits import CallLimits
from lambdas.repositories.call_models import UsageItem
from lambdas.repositories.usage import UsageTable, _pk

instances, now, found = [UsageTable(), UsageTable()], time.time(), []
together = threading.Barrier(2)
used = UsageTable._used

def read_together(self, scope, at):
    answer = used(self, scope, at)
    if first.pop(threading.get_ident(), None):
        together.wait(5)  # neither has seen anything of the other
    return answer

UsageTable._used = read_together
for number in range(int(sys.argv[2])):
    scope, first, answers = f"{sys.argv[1]} twice {number}", {}, []

    def ask(instance):
        first[threading.get_ident()] = True
        answers.append(isinstance(instance.admit(scope, CallLimits(concurrent_calls=1), "one", now), str))

    threads = [threading.Thread(target=ask, args=(instance,)) for instance in instances]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = [item.in_minute for item in UsageItem.query(_pk(scope)) if item.in_minute]
    found.append([answers, instances[0].sums(scope, now)["calls"], counts])
print(json.dumps(found))
"""


def test_a_question_that_is_asked_twice_at_once_counts_once(fleet, tenant):
    """By an edge that found one instance slow; both have read before either has written."""
    found = json.loads(in_the_directory(fleet, _TWICE, tenant[0], "10"))
    assert found == [[[False, False], 1, [1]]] * 10
