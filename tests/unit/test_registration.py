"""What a registrar may not accept, as both sides compute it."""

from __future__ import annotations

import pytest

from lambdas.contract import MOST_CONTACTS, SHORTEST, ContactField, Order, Reject, refusal, wanted

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
    reject = refusal(Order("c", 1), {"new": 600, "k": seconds}, {}, ())
    assert status(reject) == found
    assert (reject and reject.min_expires) == (SHORTEST if found else None)


@pytest.mark.parametrize(
    ("known", "found"), [(("c", 4), None), (("c", 5), 500), (("c", 6), 500), (("another", 6), None)]
)
@pytest.mark.parametrize("seconds", [600, 0])
def test_registers_of_one_call_id_take_effect_in_order(known, found, seconds):
    """Whether the binding is still there or not: one that was removed later is not to come back."""
    for present in (["k"], []):
        reject = refusal(Order("c", 5), {"new": 600, "k": seconds}, {"k": Order(*known)}, present)
        assert status(reject) == found
        assert not found or "CSeq" in reject.reason


@pytest.mark.parametrize(
    ("asked", "present", "found"),
    [
        ({"b0": 600}, MANY, None),
        ({"new": 600}, MANY, 403),
        ({"new": None}, MANY, 403),
        ({"new": 600}, MANY[1:], None),
        ({"new": 600, "b0": 0}, MANY, None),
        ({"new": 600, "newer": 600, "b0": 0}, MANY, 403),
        ({"gone": 0}, MANY, None),
        ({"b0": 600}, [*MANY, "more"], None),
        ({"new": 600}, [*MANY, "more"], 403),
        ({"new": 600, "b0": 0, "b1": 0}, [*MANY, "more", "still more"], None),
    ],
)
def test_an_aor_has_few_bindings(asked, present, found):
    """One that has more, from before it might have so few, keeps them, and may swap one for another."""
    assert status(refusal(Order("c", 1), asked, {}, present)) == found


def test_an_account_may_have_fewer():
    assert status(refusal(Order("c", 1), {"new": 600}, {}, ["a"], most=1)) == 403
    assert refusal(Order("c", 1), {"new": 600}, {}, [], most=1) is None
