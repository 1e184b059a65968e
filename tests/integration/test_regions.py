"""Two Regions: what is registered, changed and called in one, seen from the other; and one of them dying."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest

from scripts.fleet_parts import DEVELOPMENT_CREDENTIALS, DOMAIN, MINISTACK, PREFIX, ROOT, SIP, Host, development_client
from scripts.processes import wait_for
from tests.support.fleets import fresh_base
from tests.support.kamailio import Kamailio
from tests.support.pace import slowness
from tests.support.regions import REGIONS, TwoRegions
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def regions(tmp_path_factory):
    with TwoRegions(tmp_path_factory.mktemp("regions"), fresh_base()) as made:
        yield made


@pytest.fixture(autouse=True)
def healed(regions):
    regions.lag, regions.reordered, regions.parted = 0.1, False, False
    yield
    regions.parted, regions.lag = False, 0.1


def phone(regions, user, index):
    edge = regions.fleet.edges[index]
    return SocketPhone(regions.fleet.accounts[user], DOMAIN, Host(edge.address), (edge.address, SIP))


def change_password(regions, user):
    made = regions.fleet.client.api("POST", f"/v1/accounts/{user}@{DOMAIN}/password", {})
    return made["password"]


def test_calls_between_the_regions_once_registrations_have_come_over(regions):
    with phone(regions, "alice", 0) as alice, phone(regions, "bob", 1) as bob:
        assert alice.register() == bob.register() == 200
        regions.settle()
        dialog, _ = call(alice, bob, f"sip:bob@{DOMAIN}")
        in_dialog(alice, dialog, "BYE", bob)
        dialog, _ = call(bob, alice, f"sip:alice@{DOMAIN}")
        in_dialog(bob, dialog, "BYE", alice)


def test_a_changed_password_reaches_the_other_region_however_late_and_in_whatever_order(regions):
    with phone(regions, "carol", 1) as carol:
        assert carol.register() == 200
        regions.settle()
        regions.lag, regions.reordered = 2.0, True
        password = change_password(regions, "carol")
        change_password(regions, "dave")
        begun = time.monotonic()
        while carol.register() != 403:
            assert time.monotonic() - begun < 20 * slowness()  # replication itself takes up to 4 s here
        carol.agent.password = password
        wait_for("the new password to work there", lambda: carol.register() == 200, 20)


def test_parted_regions_go_on_each_for_itself_and_agree_afterwards(regions):
    """A phone moves from one to the other while they are parted: as long as they are, each has it where it was there; then
    the later registration stands, everywhere, and a change made meanwhile is not lost."""
    with phone(regions, "alice", 0) as here, phone(regions, "alice", 1) as there, phone(regions, "bob", 0) as bob:
        here.agent.instance = there.agent.instance = "urn:uuid:7"
        assert here.register() == bob.register() == 200
        regions.settle()
        regions.parted = True
        there.agent.call_id += "-there"
        assert there.register() == 200
        assert bob.register() == 200
        dialog, _ = call(bob, here, f"sip:alice@{DOMAIN}")
        in_dialog(bob, dialog, "BYE", here)
        password = change_password(regions, "bob")  # in the first Region
        regions.parted = False
        regions.settle()
        dialog, _ = call(here_password(bob, password), there, f"sip:alice@{DOMAIN}")
        in_dialog(bob, dialog, "BYE", there)


def here_password(phone, password):
    phone.agent.password = password
    return phone


def test_parted_regions_never_register_an_account_twice(regions, tmp_path):
    """Six accounts over two addresses; while the Regions are parted one edge stops for longer than its lease, and wakes."""
    fleet = regions.fleet
    prefix = fleet.edges[0].address.rpartition(".")[0]
    provider = Kamailio(tmp_path, Host(f"{prefix}.20"), "sip.voip.test")
    users = [f"44{number}" for number in range(6)]
    tenant = fleet.client.api("GET", "/v1/tenants")["items"][0]["id"]
    try:
        for user in users:
            login = {"username": user, "password": "secret", "from_domain": "sip.voip.test", "expires": 60}
            fleet.client.api(
                "POST", "/v1/providers", {"tenant": tenant, "name": f"p{user}", "host": f"{prefix}.20", **login}
            )
        wait_for("all to be registered", lambda: all(provider.registrations(user) for user in users), 30)
        sources = {user: provider.registrations(user)[-1].source for user in users}
        assert len(set(sources.values())) == 2  # spread over both
        regions.parted = True
        slept = [user for user in users if sources[user].startswith(f"{fleet.edges[1].address}:")]
        os.kill(fleet.processes.pid("edge-b"), signal.SIGSTOP)
        stopped = time.time()

        def moved():
            return all(provider.registrations(user)[-1].source != sources[user] for user in slept)

        wait_for("the sleeper's accounts to be registered from elsewhere", moved, 45)
        os.kill(fleet.processes.pid("edge-b"), signal.SIGCONT)
        regions.parted = False
        wait_for("a refresh of all", lambda: all(len(provider.registrations(user)) > 2 for user in users), 100)
        for user in users:
            registrations = provider.registrations(user)
            turns = [
                (earlier, later)
                for earlier, later in itertools.pairwise(registrations)
                if earlier.source != later.source
            ]
            assert len(turns) == (user in slept)
            for _, later in turns:
                assert later.at - stopped > 9  # not before the sleeper's lease was over
            assert [item.cseq for item in registrations] == sorted({item.cseq for item in registrations})
    finally:
        for user in users:
            fleet.client.request("DELETE", f"/v1/providers/p{user}?tenant={tenant}")
        provider.stop()


_SECRET = """
import sys
from lambdas.repositories.directory import Directory
from lambdas.repositories.leases import Leases, lease_client

sys.stdin.readline()
print(Directory().fleet_secret(Leases(lease_client()).once).hex())
"""


def test_both_regions_make_one_secret(regions):
    """Whose edges ask for their keys at the same time, before anything has come over."""
    client = development_client("dynamodb", f"http://{regions.shared}:{MINISTACK}")
    regions.parted = True
    kept = [(client, f"{PREFIX}-leases", {"pk": {"S": "ONCE#fleet secret"}})]
    for host, region in zip(regions.hosts, REGIONS, strict=True):
        own = development_client("dynamodb", f"http://{host.address}:{MINISTACK}", region)
        kept.append((own, f"{PREFIX}-directory", {part: {"S": "FLEET#secret"} for part in ("pk", "sk")}))
    items = [one.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"] for one, table, key in kept]
    assert items[0]["value"] == items[1]["secret"] == items[2]["secret"]
    try:
        for one, table, key in kept:
            one.delete_item(TableName=table, Key=key)
        asking = []
        for host, region in zip(regions.hosts, REGIONS, strict=True):
            environment = {
                **os.environ, **DEVELOPMENT_CREDENTIALS, "AWS_DEFAULT_REGION": region, "PYTHONPATH": str(ROOT),
                "AWS_ENDPOINT_URL": f"http://{host.address}:{MINISTACK}",
                "LEASES_ENDPOINT_URL": f"http://{regions.shared}:{MINISTACK}",
            }  # fmt: skip
            command = [sys.executable, "-c", _SECRET]
            pipe = subprocess.PIPE
            asking.append(subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True))
        for process in asking:
            process.stdin.write("\n")
            process.stdin.flush()
        (one, other) = (process.communicate(timeout=30)[0] for process in asking)
        assert one == other
        assert len(one.strip()) == 64
    finally:
        for (client, table, _), item in zip(kept, items, strict=True):
            client.put_item(TableName=table, Item=item)
            client.close()


def test_a_regions_death_loses_no_call(regions):
    """Its edge asks the other Region from then on; calls, before, during and after, all work."""
    with phone(regions, "alice", 0) as alice, phone(regions, "dave", 1) as dave:
        dave.agent.password = change_password(regions, "dave")
        alice_password = change_password(regions, "alice")
        regions.settle()
        alice.agent.password = alice_password
        assert alice.register() == dave.register() == 200
        regions.settle()
        answered = []
        dialog, other = call(alice, dave, f"sip:dave@{DOMAIN}")
        for turn in range(10):
            if turn == 3:
                regions.kill_region(0)
            answered.append(call(alice, dave, f"sip:dave@{DOMAIN}"))
        in_dialog(alice, dialog, "BYE", dave)
        assert len(answered) == 10
        alice.agent.call_id += "x"
        assert alice.register() == 200  # decided by the other Region
        regions.start_control(0)
        regions.settle()
        tenant = regions.fleet.client.api("GET", "/v1/tenants")["items"][0]["id"]
        today = time.strftime("%Y-%m-%d", time.gmtime())
        wait_for(
            "every call's record, once",
            lambda: (
                len([c for c in regions.fleet.client.calls(tenant, today) if c["called"] == f"dave@{DOMAIN}"]) == 11
            ),
            20,
        )
