"""An instance becomes an edge once: whoever has its role's credentials for a moment doesn't keep the edge."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lambdas.api.edges import enrolment
from lambdas.api.problems import Problem
from lambdas.repositories.directory import Stale, Taken

FIRST, SECOND, THIEF = "a" * 44, "b" * 44, "c" * 44
ADDRESSES = ["203.0.113.11"]


class OneEdge:
    """A directory of edges, and what has been noted."""

    def __init__(self) -> None:
        self.items: dict[str, object] = {}
        self.notes: list[str] = []
        self.overtaken = False
        tables = SimpleNamespace(directory=self, events=self)
        self.services = SimpleNamespace(tables=tables, clock=lambda: 1.0)

    def get(self, kind, name):
        return self.items.get(name)

    def create(self, item):
        if item.id in self.items:
            raise Taken
        self.items[item.id] = item

    def update(self, item, **changes):
        if self.overtaken and item.guarded:
            raise Stale
        for name, value in changes.items():
            setattr(self.items[item.id], name, value)

    def add(self, tenant, event):
        assert tenant == ""
        self.notes.append(event.text)

    def enrol(self, instance, key):
        enrolment.become_instance("eu-a", instance, key, ADDRESSES, self.services)

    @property
    def key(self):
        return self.items["eu-a"].public_key


@pytest.fixture
def edge(monkeypatch):
    monkeypatch.setattr(enrolment.probes, "prepare", lambda *_: None)
    made = OneEdge()
    made.enrol("i-1", FIRST)
    return made


def test_an_instance_enrols_once(edge):
    with pytest.raises(Problem) as refused:
        edge.enrol("i-1", THIEF)
    assert refused.value.status == 409
    assert edge.key == FIRST
    assert edge.notes[-1].startswith("instance i-1 has asked to be edge eu-a with another key")  # owners can read it


def test_a_lost_answer_is_given_again(edge):
    edge.enrol("i-1", FIRST)
    assert (edge.key, len(edge.notes)) == (FIRST, 1)


def test_a_new_instance_takes_the_place_and_the_old_one_never_comes_back(edge):
    edge.enrol("i-2", SECOND)
    assert edge.key == SECOND
    assert edge.notes[-1] == "edge eu-a has enrolled: instance i-2 in the place of i-1"
    for key in (FIRST, THIEF):
        with pytest.raises(Problem):
            edge.enrol("i-1", key)
    assert edge.key == SECOND


def test_of_two_at_once_one_is_told_to_try_again(edge):
    edge.overtaken = True
    with pytest.raises(Problem) as refused:
        edge.enrol("i-2", SECOND)
    assert (refused.value.status, edge.key) == (409, FIRST)


def test_an_edge_that_has_enrolled_otherwise_is_taken_over_by_an_instance_once(edge):
    edge.items["eu-a"].instances = []
    edge.enrol("i-3", SECOND)
    assert (edge.key, edge.items["eu-a"].instances) == (SECOND, ["i-3"])
