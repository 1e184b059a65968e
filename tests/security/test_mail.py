"""Mail: nobody is flooded, whatever their address is spelt like, and a member's login isn't at strangers' mercy."""

from __future__ import annotations

import json
import secrets
import time
from types import SimpleNamespace

import pytest

from lambdas.services import mails
from tests.integration.test_bulk import in_the_directory
from tests.integration.test_provisioning import ask


class Counted:
    """Rations in memory."""

    def __init__(self):
        self.taken = {}
        self.known = set()

    def take(self, name, most, now):
        self.taken[name] = self.taken.get(name, 0) + 1
        return self.taken[name] <= most

    def acquainted(self, email, source, now):
        return (email, source) in self.known


@pytest.fixture
def counted():
    return Counted()


@pytest.fixture
def services(counted):
    return SimpleNamespace(clock=time.time, tables=SimpleNamespace(rations=counted))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("Victim+17@People.example", "victim@people.example"),
        ("victim@people.example", "victim@people.example"),
        ("v.i.c.tim+x@gmail.com", "victim@gmail.com"),
        ("victim@GoogleMail.com", "victim@gmail.com"),
        ("first.last@people.example", "first.last@people.example"),
    ],
)
def test_many_spellings_are_one_mailbox(address, expected):
    assert mails.mailbox(address) == expected


def test_a_mailbox_isnt_flooded_from_many_sources(services):
    answers = [mails.may_write(f"198.51.100.{n}", f"victim+{n}@people.example", services) for n in range(40)]
    assert answers == [True] * 5 + [False] * 35


def test_a_source_has_so_many_sent(services):
    answers = [mails.may_write("198.51.100.1", f"somebody{n}@people.example", services) for n in range(30)]
    assert answers == [True] * 20 + [False] * 10


def test_strangers_use_up_nothing_where_the_member_has_been_before(services, counted):
    ann, home = "ann@people.example", "192.0.2.1"
    counted.known.add((ann, home))
    answers = [mails.may_send_login(f"198.51.100.{n}", ann, "t1", services) for n in range(50)]
    assert answers == [True] * 5 + [False] * 45  # the five are in ann's mailbox, and good
    assert all(mails.may_send_login(home, ann, "t1", services) for _ in range(5))
    assert not mails.may_send_login(home, ann, "t1", services)


@pytest.mark.parametrize(("address", "tenant"), [("ann+1@people.example", "t1"), ("ann@people.example", "t2")])
def test_what_reaches_no_member_uses_up_no_members_mails(services, address, tenant):
    for number in range(50):
        mails.may_send_login(f"198.51.100.{number}", address, tenant, services)
        mails.may_write(f"203.0.113.{number}", "ann@people.example", services)  # sign-ups
    assert mails.may_send_login("192.0.2.99", "ann@people.example", "t1", services)


_PROCESSES = """
import json, sys, time
from lambdas.repositories.directory import Directory
from lambdas.repositories.rations import Rations
processes, name, now = [Rations(Directory()) for _ in range(4)], sys.argv[1], time.time()
found = [processes[n % 4].take(name, 5, now) for n in range(8)] + [processes[0].take(name, 5, now + 3600)]
processes[0].acquaint("a@x.example", name, now)
acquainted = [processes[1].acquainted("a@x.example", source, at) for source, at in
              ((name, now), ("other", now), (name, now + 91 * 86400))]
print(json.dumps([found, acquainted]))
"""


@pytest.mark.integration
def test_all_processes_count_together(plane):
    found, acquainted = json.loads(in_the_directory(plane, _PROCESSES, secrets.token_hex(4)))
    assert found == [True] * 5 + [False] * 3 + [True]
    assert acquainted == [True, False, False]


@pytest.mark.integration
def test_the_api_says_so(plane):
    name = secrets.token_hex(4)
    bodies = [{"email": f"{name}+{n}@people.example"} for n in range(7)]
    assert [ask(plane, "", "POST", "/v1/signup", body)[0] for body in bodies] == [202] * 5 + [429] * 2
