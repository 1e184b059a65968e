"""Which peers are told of sessions, and what they make of it."""

from __future__ import annotations

import zlib

import pytest

from edge.media.copies import MOST_OCTETS, Copies, pack, unpack
from edge.media.copying import Copying, Due, chosen

ADDRESS = "203.0.113.11"


def test_the_highest_epoch_counts():
    copies = Copies()
    copies.copied(ADDRESS, 5, "one", b"1")
    copies.copied(ADDRESS, 4, "old", b"0")
    assert (copies.epoch(ADDRESS), copies.packed(ADDRESS)) == (5, {"one": b"1"})
    copies.copied(ADDRESS, 6, "two", b"2")
    assert (copies.epoch(ADDRESS), copies.packed(ADDRESS)) == (6, {"two": b"2"})
    copies.copied(ADDRESS, 6, "two", b"")
    assert (copies.epoch(ADDRESS), copies.packed(ADDRESS)) == (6, {})
    copies.copied(ADDRESS, 7, "", b"")
    assert copies.epoch(ADDRESS) == 7
    assert copies.epoch("203.0.113.12") == 0


def test_what_is_told_anew_replaces_what_was_known():
    copies = Copies()
    copies.copied(ADDRESS, 5, "one", b"1")
    copies.copied(ADDRESS, 5, "", b"")
    copies.copied(ADDRESS, 5, "two", b"2")
    assert copies.packed(ADDRESS) == {"two": b"2"}
    copies.left(ADDRESS)
    assert copies.epoch(ADDRESS) == 0


def test_an_older_epoch_is_kept_for_a_minute():
    """The new holder asks after it has said that the address is its own, and may die before it has told anybody."""
    copies = Copies()
    copies.copied(ADDRESS, 5, "one", b"1")
    copies.superseded(ADDRESS, 5, 100.0)
    copies.prune(1000.0)
    copies.superseded(ADDRESS, 6, 1000.0)
    copies.superseded(ADDRESS, 7, 1030.0)
    copies.prune(1059.0)
    assert len(copies) == 1
    copies.prune(1060.0)
    assert len(copies) == 0
    assert copies.epoch(ADDRESS) == 0


def test_packed_sessions_open_again_and_bombs_do_not():
    assert unpack(pack(b"{}" * 5000)) == b"{}" * 5000
    for data in (b"", b"x", pack(b"abc")[:-1], zlib.compress(bytes(MOST_OCTETS + 1))):
        with pytest.raises(ValueError, match=r"."):
            unpack(data)


def test_two_peers_are_told_everything_and_then_each_change_once():
    copying = Copying()
    peers = ["edge-b", "edge-c", "edge-d"]
    told = chosen(ADDRESS, peers, ())
    (other,) = set(peers) - set(told)
    assert copying.linked(peers, (), {ADDRESS: ["one"]}) == [(other, ADDRESS)]
    assert copying.take_due(10) == [Due(peer, ADDRESS, name) for peer in sorted(told) for name in ("", "one")]
    copying.changed(ADDRESS, "two")
    copying.changed(ADDRESS, "two")
    assert sorted(copying.take_due(1) + copying.take_due(9)) == sorted(Due(peer, ADDRESS, "two") for peer in told)
    assert copying.take_due(10) == []
    assert copying.linked(peers, (), {ADDRESS: ["one", "two"]}) == []
    assert copying.take_due(10) == []


def test_an_address_is_copied_in_its_region():
    """Where there aren't two others, one elsewhere has it too, and is told no more once there are."""
    copying, addresses = Copying(), {ADDRESS: ["one"], "203.0.113.12": []}
    near = {"edge-b", "edge-c", "edge-d"}
    copying.linked(["edge-b", "elsewhere-a", "elsewhere-b"], near, addresses)
    assert all("edge-b" in copying.told(address) for address in addresses)
    assert all(len(copying.told(address)) == 2 for address in addresses)
    peers = ["edge-b", "edge-c", "edge-d", "elsewhere-a", "elsewhere-b"]
    away = {(peer, address) for address in addresses for peer in copying.told(address) if peer != "edge-b"}
    left = copying.linked(peers, near, addresses)
    assert away <= set(left)
    assert all(set(copying.told(address)) < near for address in addresses)
    many = {tuple(chosen(f"203.0.113.{number}", peers, near)) for number in range(20)}
    assert {peer for pair in many for peer in pair} == near


def test_a_link_that_is_made_anew_brings_everything_anew():
    copying = Copying()
    copying.linked(["edge-b"], (), {ADDRESS: ["one"]})
    copying.take_due(10)
    copying.changed(ADDRESS, "one")
    copying.linked([], (), {ADDRESS: ["one"]})
    assert copying.take_due(10) == []
    copying.changed(ADDRESS, "one")
    assert copying.take_due(10) == []
    copying.linked(["edge-b"], (), {ADDRESS: ["one"]})
    assert copying.take_due(10) == [Due("edge-b", ADDRESS, ""), Due("edge-b", ADDRESS, "one")]


def test_who_is_not_chosen_any_more_knows_it():
    copying = Copying()
    peers = ["edge-b", "edge-c", "edge-d"]
    (last,) = set(peers) - set(chosen(ADDRESS, peers, ()))
    first, second = chosen(ADDRESS, peers, ())
    copying.linked([second, last], (), {ADDRESS: []})
    copying.take_due(10)
    assert copying.linked(peers, (), {ADDRESS: []}) == [(last, ADDRESS)]
    assert copying.take_due(10) == [Due(first, ADDRESS, "")]
    copying.changed(ADDRESS, "one")
    assert {due.peer for due in copying.take_due(10)} == {first, second}


def test_an_address_that_is_gone_is_told_of_no_more():
    copying = Copying()
    copying.linked(["edge-b"], (), {ADDRESS: ["one"]})
    copying.linked(["edge-b"], (), {})
    copying.changed(ADDRESS, "one")
    assert copying.take_due(10) == []


def test_the_taker_is_told_whoever_it_is():
    copying = Copying()
    peers = ["edge-b", "edge-c", "edge-d"]
    (other,) = set(peers) - set(chosen(ADDRESS, peers, ()))
    copying.linked(peers, (), {ADDRESS: ["one"]})
    copying.take_due(10)
    copying.tell(other, ADDRESS, ["one"])
    assert copying.take_due(10) == [Due(other, ADDRESS, ""), Due(other, ADDRESS, "one")]
    copying.changed(ADDRESS, "one")
    assert other in {due.peer for due in copying.take_due(10)}
    assert copying.linked(peers, (), {ADDRESS: ["one"]}) == [(other, ADDRESS)]
