"""Items by their keys, of several tables, in one request."""

from __future__ import annotations

import pytest

from lambdas.repositories import reading
from lambdas.repositories.call_models import CallItem
from lambdas.repositories.models import AccountItem, DirectoryItem
from lambdas.repositories.reading import ItemKey, read
from lambdas.repositories.transactions import Busy

CALLS, DIRECTORY = CallItem.Meta.table_name, DirectoryItem.Meta.table_name


class Table:
    """Gives up to ``most`` items of each request; nothing is there whose name begins with "no"."""

    def __init__(self, most):
        self._most = most
        self.asked = []

    def call(self, operation, request):
        assert operation == "BatchGetItem"
        keys = [(table, key) for table, one in request["RequestItems"].items() for key in one["Keys"]]
        assert all(one["ConsistentRead"] for one in request["RequestItems"].values())
        assert len({str(key) for key in keys}) == len(keys)  # DynamoDB refuses any twice
        self.asked.append(len(keys))
        page = {"Responses": {}, "UnprocessedKeys": {}}
        for number, (table, key) in enumerate(keys):
            if number >= self._most:
                page["UnprocessedKeys"].setdefault(table, {"Keys": []})["Keys"].append(key)
            elif not key["pk"]["S"].startswith("no"):
                page["Responses"].setdefault(table, []).append({**key, "in": {"S": table}})
        return page


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(reading, "pause", lambda tries: None)


def test_items_of_several_tables_come_by_their_keys(monkeypatch):
    table = Table(100)
    monkeypatch.setattr(reading, "dynamodb", lambda: table)
    one, other, none = ItemKey(AccountItem, "a", "1"), ItemKey(CallItem, "a", "1"), ItemKey(CallItem, "none", "1")
    found = read([one, other, none, one])
    assert {key: raw["in"]["S"] for key, raw in found.items()} == {one: DIRECTORY, other: CALLS}
    assert table.asked == [3]
    assert read([]) == {}


def test_many_and_what_is_left_out_are_asked_for_again(monkeypatch):
    table = Table(60)
    monkeypatch.setattr(reading, "dynamodb", lambda: table)
    keys = [ItemKey(CallItem, str(number), "s") for number in range(150)]
    assert set(read(keys)) == set(keys)
    assert table.asked == [100, 90, 30]


def test_nobody_asks_for_ever(monkeypatch):
    table = Table(0)
    monkeypatch.setattr(reading, "dynamodb", lambda: table)
    with pytest.raises(Busy):
        read([ItemKey(CallItem, "a", "s")])
    assert table.asked == [1] * 5
