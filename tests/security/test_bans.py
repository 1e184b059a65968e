"""Who is banned, and who isn't: guessers are, an office with one wrong password and providers' addresses aren't."""

from __future__ import annotations

import ipaddress
import json
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from lambdas.contract import EdgePlace
from lambdas.decisions.abuse import BAN_AFTER, COUNTED_AS_ONE, MOST_OTHERS, Rules, weight
from lambdas.repositories.directory import Taken
from lambdas.services import suspension
from lambdas.services.rates import Gathered, Quota
from lambdas.services.spared import SparedNetwork, SparedNetworks
from lambdas.services.suspension import Failure, failed
from tests.integration.test_bulk import in_the_directory

SOURCE = "192.0.2.7"


@dataclass
class Told:
    """What suspension works with, in memory: what it writes, in order."""

    written: list[tuple] = field(default_factory=list)
    banned: set[str] = field(default_factory=set)
    places: list[SparedNetwork] = field(default_factory=list)
    edges: list[str] = field(default_factory=lambda: ["203.0.113.11"])
    sides: list[EdgePlace] = field(default_factory=list)
    breaks: str = ""
    tried: dict[str, int] = field(default_factory=dict)

    def services(self):
        abuse = SimpleNamespace(failed_from=self.failed_from, failed_as=self.failed_as)
        directory = SimpleNamespace(ban=self.ban, get=lambda *_: None)
        events = SimpleNamespace(add=lambda tenant, event: self.written.append(("event", event.text)))
        return SimpleNamespace(
            clock=lambda: 1000.0,
            cache=SimpleNamespace(is_banned=self.banned.__contains__),
            fleet=SimpleNamespace(addresses=lambda: self.edges, places=lambda: self.sides),
            spared=SimpleNamespace(all=lambda: self.places),
            quotas=SimpleNamespace(failures=Quota(10_000), notes=Gathered(20, 1.0)),
            tables=SimpleNamespace(abuse=abuse, directory=directory, events=events),
        )

    def failed_from(self, source, account, at, times, address):
        self.written.append(("source", source))
        before = weight(sum(self.tried.values()), self.tried)
        self.tried[account] = self.tried.get(account, 0) + times
        return before, weight(sum(self.tried.values()), self.tried)

    def failed_as(self, account, source, at, times):
        if self.breaks == "account":
            raise RuntimeError("the item is too big")
        self.written.append(("account", account))
        return 1, 1

    def ban(self, item, now):
        if self.breaks == "taken":
            raise Taken
        self.written.append(("ban", item.network))


def guess(told, services, times, account="user{}@example.com", source=SOURCE):
    for number in range(times):
        failed(Failure(account.format(number), source, 1000.0), services)
    return [what for kind, what in told.written if kind == "ban"]


def test_a_guesser_of_many_accounts_is_banned():
    told = Told()
    services = told.services()
    assert guess(told, services, BAN_AFTER - 1) == []
    assert guess(told, services, 1, "one-more@example.com") == [SOURCE]


def test_an_office_with_one_wrong_password_among_its_phones_stays_up():
    told = Told()
    assert guess(told, told.services(), 10 * BAN_AFTER, "wrong@example.com") == []
    # Even with another account that is wrong, and somebody who mistypes theirs now and then.
    assert guess(told, told.services(), 10 * BAN_AFTER, "wrong-too@example.com") == []
    assert guess(told, told.services(), 50, "typist@example.com") == []


@pytest.mark.parametrize(
    ("tried", "counts"),
    [({}, 7), ({"a": 3}, 7), ({"a": COUNTED_AS_ONE + 5}, 20), ({"a": 40, "b": 40}, 40), ({"a": 30, "b": 2}, 22)],
)
def test_failures_as_one_account_count_up_to_a_bound(tried, counts):
    assert weight(max(7, sum(tried.values())), tried) == counts


@pytest.mark.parametrize("breaks", ["account", ""])
def test_a_source_is_counted_first_and_whatever_becomes_of_the_account(breaks, caplog):
    told = Told(breaks=breaks)
    assert guess(told, told.services(), BAN_AFTER) == [SOURCE]
    assert told.written[0] == ("source", SOURCE)


def test_what_is_told_late_of_a_name_is_not_its_next_owners():
    told = Told()
    services = told.services()
    services.tables.directory.get = lambda *_: SimpleNamespace(created_at=1001)
    failed(Failure("a@example.com", SOURCE, 1000.0, address="203.0.113.11"), services)
    assert told.written == [("source", SOURCE)]
    failed(Failure("a@example.com", SOURCE, 1002.0, address="203.0.113.11"), services)
    assert told.written[1:] == [("source", SOURCE), ("account", "a@example.com")]


def test_of_who_is_banned_nothing_is_written_or_logged(caplog):
    told = Told(banned={SOURCE})
    assert guess(told, told.services(), 200) == []
    assert told.written == []
    told = Told(breaks="taken")  # banned by another process a moment ago
    assert guess(told, told.services(), BAN_AFTER + 50) == []
    assert not caplog.records


@pytest.mark.parametrize("network", ["192.0.2.7/32", "192.0.2.0/24"])
def test_a_providers_address_is_spared_and_said_to_be_so_once(network):
    told = Told(places=[SparedNetwork(ipaddress.IPv4Network(network), "t1", "voip")])
    assert guess(told, told.services(), 3 * BAN_AFTER) == []
    events = [text for kind, text in told.written if kind == "event"]
    assert len(events) == 1
    assert "tenant t1's provider voip" in events[0]


@pytest.mark.parametrize(
    ("sources", "spared"),
    [
        (["203.0.0.0/16"], []),
        (["203.0.112.0/23", "0.0.0.0/0"], []),
        (["203.0.113.0/24", "198.51.100.4"], ["203.0.113.0/24", "198.51.100.4/32"]),
    ],
)
def test_no_tenant_has_more_than_a_small_network_spared(sources, spared):
    item = SimpleNamespace(host="sip.x.test", outbound_proxy="", sources=sources, tenant="t1", name="v", id="t1/v")
    table = SimpleNamespace(servers=dict, tenants=lambda: ["t1"], of=lambda tenant: [item])
    assert [str(one.network) for one in SparedNetworks(table).all()] == spared


def test_an_edges_address_is_spared():
    told = Told(edges=[SOURCE])
    assert guess(told, told.services(), 2 * BAN_AFTER) == []


def test_one_accounts_item_is_written_seldom_however_many_fail(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    told = Told()
    services = told.services()
    for number in range(1000):
        now = number / 100  # ten seconds in all
        failed(Failure("alice@example.com", f"198.51.100.{number % 200}", 1000.0), services)
    written = [what for kind, what in told.written if kind == "account"]
    assert len(written) == 29  # 20 at first
    assert len([1 for kind, _ in told.written if kind == "source"]) == 1000


def test_what_was_gathered_goes_with_the_next(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    gathered = Gathered(2, 1.0)
    assert [gathered.take("a", 1) for _ in range(5)] == [1, 1, 0, 0, 0]
    assert gathered.take("b", 2) == 2
    now = 1.5
    assert gathered.take("a", 1) == 4


def test_rules_of_more_sources_than_are_kept_still_hold():
    assert Rules(failures=1000, sources=400).guessed(1000, MOST_OTHERS)
    assert not Rules(failures=1000, sources=400).guessed(1000, MOST_OTHERS - 1)


# In the table

_COUNTED = """
import json, sys, time
from lambdas.repositories.abuse import Abuse
from lambdas.repositories.call_models import AbuseItem

abuse, source, now = Abuse(), sys.argv[1], time.time() // 600 * 600 + 1
found = {}
found["same"] = [abuse.failed_from(source, "a@x", now) for _ in range(30)][-1]
found["others"] = [abuse.failed_from(source, f"u{n}@x", now) for n in range(60)][-1]
item = next(AbuseItem.query(f"abuse#source#{source}"))
found["kept"], found["times"] = len(item.tried), int(item.times)
found["as"] = [abuse.failed_as(source, f"198.51.100.{n}", now) for n in range(60)][-1]
item = next(AbuseItem.query(f"abuse#account#{source}"))
found["sources"] = len(item.others)
told = source + "t"
found["reported"] = [abuse.failed_from(told, "a@x", at, 7, "203.0.113.11") for at in (now, now, now + 5, now)]
found["listed"] = [[one.times, len(one.others)] for one in
                   abuse.of(time.strftime("%Y-%m-%d", time.gmtime(now)), 10, None, "source", source)[0]]
print(json.dumps(found))
"""


@pytest.mark.integration
def test_names_are_kept_up_to_a_bound_and_counts_go_on(plane, tenant):
    found = json.loads(in_the_directory(plane, _COUNTED, tenant[0]))
    assert found["same"] == [20, 20]
    assert found["others"] == [79, 80]  # 20 as one account, 60 as others
    assert (found["kept"], found["times"]) == (MOST_OTHERS, 90)
    assert found["as"] == [60, MOST_OTHERS]
    assert found["sources"] == MOST_OTHERS
    assert found["reported"] == [[0, 7], None, [7, 14], None]  # one that comes again is done once
    assert found["listed"] == [[90, MOST_OTHERS]]


_AT_ONCE = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from lambdas.repositories.abuse import Abuse

abuses, source, now = [Abuse() for _ in range(4)], sys.argv[1], time.time()
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda n: abuses[n % 4].failed_from(source, f"u{n}@x", now), range(80)))
print(abuses[0].failed_from(source, "last@x", now)[1])
"""


@pytest.mark.integration
def test_of_failures_at_once_none_is_lost(plane, tenant):
    assert in_the_directory(plane, _AT_ONCE, f"{tenant[0]}-c") == "81"


_REPORTED = """
import json, sys
from lambdas.api.edges import reports
from lambdas.contract import LoginsFailed, ReportEnvelope
from lambdas.repositories.items import edge_item
from lambdas.services.services import Services

services, edge = Services.make(), edge_item("edge-x", "", ["203.0.113.11"])
source, now = sys.argv[1], services.clock()

def report(number, address="203.0.113.11", times=15):
    return LoginsFailed(account=f"u{number}@x", source=source, times=times, at=now, address=address)

def take(*some):
    return reports.take(ReportEnvelope(version=7, reports=list(some)), edge, services).refused

refused = [take(report(1, "203.0.113.99")), take(*[report(n) for n in range(6)]), take(*[report(n) for n in range(6)])]
before = services.tables.directory.bans(now)
refused.append(take(report(7)))
print(json.dumps([refused, source in before, source in services.tables.directory.bans(now)]))
"""


@pytest.mark.integration
def test_failures_that_no_control_plane_has_seen_are_told_afterwards(plane):
    """By the edge that holds the address only; those that come twice count once; bans follow."""
    refused, before, after = json.loads(in_the_directory(plane, _REPORTED, "198.51.100.77"))
    assert refused == [1, 0, 0, 0]
    assert (before, after) == (False, True)
    plane.client.api("DELETE", "/v1/bans/198.51.100.77")


@pytest.mark.integration
def test_where_providers_are_is_known(plane, tenant):
    owner, key, _ = tenant
    provider = {"name": "trunk", "username": "u", "password": "p"}
    address = "198.51.100.130"
    plane.client.api("POST", "/v1/edges", {"id": "edge-p", "public_key": "A" * 43 + "=", "addresses": ["203.0.113.9"]})
    made = {**provider, "tenant": owner, "host": address, "sources": ["192.0.2.192/27", "0.0.0.0/0"]}
    status, answer = plane.client.request("POST", "/v1/providers", made)
    assert status == 201, answer
    places = json.loads(in_the_directory(plane, _PLACES))
    assert [address + "/32", owner, "trunk"] in places
    assert ["192.0.2.192/27", owner, "trunk"] in places
    assert not any(network == "0.0.0.0/0" for network, _, _ in places)  # it would spare everybody


_PLACES = """
import json
from lambdas.services.services import Services
print(json.dumps([[str(one.network), one.tenant, one.provider] for one in Services.make().spared.all()]))
"""


def test_a_ban_says_what_it_would_hit():
    told = Told(places=[SparedNetwork(ipaddress.IPv4Network("198.51.100.130/32"), "t1", "trunk")])
    assert "tenant t1's provider trunk" in suspension.spared("198.51.100.0/24", told.services())
    assert "edge's own address" in suspension.spared("203.0.113.0/24", told.services())
    assert suspension.spared("192.0.2.0/24", told.services()) == ""
