"""What a registrar may not accept, as both sides compute it."""

from __future__ import annotations

import pytest

from lambdas.contract import MOST_CONTACTS, SHORTEST, ContactField, Order, Reject, refusal, stalest, wanted

MANY = [f"b{number}" for number in range(MOST_CONTACTS)]


def status(reject: Reject | None) -> int | None:
    return reject and reject.status


@pytest.mark.parametrize(
    ("contact", "header", "seconds"), [(30, 600, 30), (None, 600, 600), (0, 600, 0), (None, None, None), (None, 0, 0)]
)
def test_what_a_contact_names_counts_before_the_header_field(contact, header, seconds):
    assert wanted(ContactField(key="k", uri="sip:x", expires=contact), header) == seconds


@pytest.mark.parametrize(
    ("seconds", "found"), [(None, None), (0, None), (1, 423), (SHORTEST - 1, 423), (SHORTEST, None)]
)
def test_a_binding_lasts_a_minute_at_least(seconds, found):
    reject = refusal(Order("c", 1), {"new": 600, "k": seconds}, {})
    assert status(reject) == found
    assert (reject and reject.min_expires) == (SHORTEST if found else None)


@pytest.mark.parametrize(
    ("known", "found"), [(("c", 4), None), (("c", 5), 500), (("c", 6), 500), (("another", 6), None)]
)
@pytest.mark.parametrize("seconds", [600, 0])
def test_registers_of_one_call_id_take_effect_in_order(known, found, seconds):
    """Whether the binding is still there or not: one that was removed later is not to come back."""
    reject = refusal(Order("c", 5), {"new": 600, "k": seconds}, {"k": Order(*known)})
    assert status(reject) == found
    assert not found or "CSeq" in reject.reason


@pytest.mark.parametrize(
    ("made", "effect", "follows"),
    [(0.0, 0.0, False), (0.0, 10.0, False), (10.0, 0.0, False), (9.9, 10.0, False), (10.0, 10.0, False), (10.1, 10.0, True)],
)  # fmt: skip
def test_a_phone_that_counts_from_one_again_is_told_by_its_nonce(made, effect, follows):
    """It is younger than what the phone did in its life before; what isn't known proves nothing."""
    assert Order("c", 1, made).follows(Order("c", 7, effect)) is follows
    assert Order("c", 8, made).follows(Order("c", 7, effect))


@pytest.mark.parametrize(
    ("asked", "present", "gone"),
    [
        ({"b0": 600}, MANY, []),
        ({"new": 600}, MANY, ["b0"]),
        ({"new": None, "newer": 600}, MANY, ["b0", "b1"]),
        ({"new": 600}, MANY[1:], []),
        ({"new": 600, "b0": 0}, MANY, []),
        ({"new": 600, "newer": 600, "b0": 0}, MANY, ["b1"]),
        ({"gone": 0}, MANY, []),
        ({"b0": 600}, [*MANY, "more"], []),
        ({"new": 600}, [*MANY, "more"], ["b0"]),
        ({"new": 600, "b0": 0, "b1": 0}, [*MANY, "more", "still more"], []),
    ],
)
def test_the_stalest_make_room(asked, present, gone):
    """One that has more, from before it might have so few, keeps them, and may swap one for another."""
    silent = {binding: 100.0 - number for number, binding in enumerate(present)}
    assert stalest(asked, silent) == gone


def test_of_equally_silent_ones_the_oldest_goes():
    assert stalest({"new": 600}, dict.fromkeys(MANY, 30.0)) == ["b0"]


def test_what_is_asked_for_at_once_has_to_fit():
    assert status(refusal(Order("c", 1), {"new": 600, "newer": None}, {}, most=1)) == 403
    assert status(refusal(Order("c", 1), {"new": 600}, {}, most=0)) == 403
    assert refusal(Order("c", 1), {"new": 600, "old": 0}, {}, most=1) is None
