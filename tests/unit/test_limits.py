"""What limits allow, decided from what has been counted."""

from __future__ import annotations

from lambdas.decisions.abuse import Rules
from lambdas.decisions.limits import (
    Admitted,
    CallLimits,
    Count,
    NumberRate,
    Slot,
    Used,
    admit,
    money_lasts_until,
    rate_of,
    sums,
)

NOW = 1_800_000_030.0
MINUTE = int(NOW) // 60
DAY = "2027-01-15"
COUNTED = Count()


def used(own=COUNTED, others=(), slots=(), spent=0.0):
    return Used(own, tuple(others), tuple(slots), spent)


def test_calls_at_once():
    limits = CallLimits(concurrent_calls=2)
    open_ = Slot("a", NOW + 100), Slot("b", NOW + 1)
    assert "2 calls at once" in admit(limits, used(slots=open_), "c", NOW, DAY)
    assert admit(limits, used(slots=open_), "a", NOW, DAY) == Admitted(
        Count(MINUTE, 0, DAY, 0), 0, 0
    )  # it is in already
    assert admit(limits, used(slots=open_), "c", NOW + 2, DAY).today == 1  # b was never reported on
    assert isinstance(admit(CallLimits(concurrent_calls=0), used(), "c", NOW, DAY), str)


def test_calls_in_a_minute_and_a_day_of_all_regions():
    limits = CallLimits(calls_per_minute=5, calls_per_day=8)
    own, other = Count(MINUTE, 2, DAY, 3), Count(MINUTE, 2, DAY, 2)
    assert admit(limits, used(own, [other]), "c", NOW, DAY) == Admitted(Count(MINUTE, 3, DAY, 4), 6, 0)
    full = Count(MINUTE, 3, DAY, 4)
    assert "calls_per_minute" in admit(limits, used(full, [other]), "c", NOW, DAY)
    assert admit(limits, used(full, [other]), "c", NOW + 60, DAY).own == Count(MINUTE + 1, 1, DAY, 5)
    busy = Count(MINUTE, 3, DAY, 6)
    assert "calls_per_day" in admit(limits, used(busy, [other]), "c", NOW + 60, DAY)
    assert admit(limits, used(busy, [other]), "c", NOW + 86_400, "2027-01-16").today == 1


def test_money():
    limits = CallLimits(daily_spend=10.0)
    call = Slot("a", NOW + 9000, rate=1.2, answered=NOW - 300)  # 6 so far
    assert admit(limits, used(slots=[call], spent=3.9), "c", NOW, DAY).spent == 9.9
    assert "daily_spend" in admit(limits, used(slots=[call], spent=4.0), "c", NOW, DAY)
    assert money_lasts_until(limits, used(slots=[call], spent=3.0), NOW) == NOW + 50
    other = Slot("b", NOW + 9000, rate=0.8, answered=NOW)
    ringing = Slot("d", NOW + 9000, rate=5.0)
    assert money_lasts_until(limits, used(slots=[call, other, ringing], spent=3.0), NOW) == NOW + 30
    assert money_lasts_until(limits, used(slots=[call], spent=99.0), NOW) == NOW
    assert money_lasts_until(CallLimits(), used(slots=[call]), NOW) == float("inf")
    assert sums(used(Count(MINUTE, 1, DAY, 2), slots=[call], spent=1.0), NOW, DAY) == {
        "calls": 1, "this_minute": 1, "today": 2, "spent_today": 7.0,
    }  # fmt: skip


def test_destinations():
    limits = CallLimits(allowed_prefixes=("+44", "+1"), blocked_prefixes=("+449", "+1"))
    assert [limits.permits(n) for n in ("+442079460000", "+449001", "+18005550100", "+33123", "")] == [
        True, False, False, False, False,
    ]  # fmt: skip
    assert CallLimits(blocked_prefixes=("+44",), allowed_prefixes=("+4420", "")).permits("+4420")
    assert CallLimits().permits("anything")
    assert CallLimits(allowed_prefixes=()).permits("+44")
    assert not CallLimits(blocked_prefixes=("",)).permits("+44")


def test_ones_own_limits_come_first():
    mine = CallLimits(concurrent_calls=2, allowed_prefixes=())
    found = mine.otherwise(CallLimits(concurrent_calls=1, calls_per_day=5, allowed_prefixes=("+44",)))
    assert (found.concurrent_calls, found.calls_per_day, found.allowed_prefixes) == (2, 5, ())
    assert found.counting
    assert not CallLimits(blocked_prefixes=("+",), registrations=1, max_call_seconds=5).counting


def test_rates():
    rates = (NumberRate("", 0.1), NumberRate("+44", 0.02), NumberRate("+447", 0.05))
    assert [rate_of(n, rates) for n in ("+33", "+4420", "+4477", "")] == [0.1, 0.02, 0.05, 0.0]
    assert rate_of("+33", rates[1:]) == 0.0


def test_suspension_rules():
    rules = Rules(failures=10, sources=3, premium_prefixes=("+449", "+44909"), premium_calls=3)
    assert rules.guessed(10, 2) == rules.guessed(9, 3) == ""
    assert "10 failed authentications from 3 addresses" in rules.guessed(10, 3)
    assert [rules.premium(n) for n in ("+449091", "+449", "+4420")] == ["+44909", "+449", ""]
    assert rules.burst(2, ["+449"]) == ""
    assert "3 calls to new premium numbers (+449)" in rules.burst(3, ["+449"])
    off = Rules(failures=0, premium_calls=0)
    assert off.guessed(10**6, 100) == off.burst(10**6, []) == ""
