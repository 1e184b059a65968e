"""Which bindings belong together."""

from __future__ import annotations

from edge.proxy.location.index import Index


def test_ids_of_a_key_come_in_order_and_go_one_by_one():
    index = Index()
    assert (index.get("a"), index.first("a"), "a" in index) == ((), "", False)
    for number, identity in enumerate(("one", "two", "three"), 1):
        index.add("a", identity)
        assert index.first("a") == "one"
        assert len(index.get("a")) == number
    index.add("b", "four")
    assert index.get("a") == ("one", "two", "three")
    assert index.discard("a", "one")
    assert (index.get("a"), index.first("a")) == (("two", "three"), "two")
    assert index.discard("a", "three")
    assert index.get("a") == ("two",)
    assert not index.discard("a", "two")
    assert (index.get("a"), index.first("a"), "a" in index) == ((), "", False)
    assert index.get("b") == ("four",)
