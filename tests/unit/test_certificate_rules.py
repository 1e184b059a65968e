"""When certificates are ordered, and for which names: rules over a clock that the test moves."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from lambdas.certificates.ending import tell_of_ending
from lambdas.certificates.settings import AcmeSettings
from lambdas.decisions import certificates as rules
from lambdas.decisions.certificates import Authority, Certified, ChallengePlace, RenewalTurn
from lambdas.hooks.delivering import _ending

NOW = 1_800_000_000.0
DAY, HOUR = 86_400.0, 3600.0
ZONES = {"voip.test": "Z1", "eu.voip.test": "Z2", "acme.voip.test": "Z3"}
NAME = "pbx.example.com"
TARGET = rules.alias_target(NAME, "acme.voip.test")


def certified(days=90.0, name=NAME, **more):
    return Certified(name, "t1", "1", NOW, NOW + days * DAY, ours=True, **more)


# When


@pytest.mark.parametrize("days", [6, 45, 90, 1826])
def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left_and_not_all_on_one_day(days):
    times = [rules.renew_at(certified(days, f"host-{number}.example.com")) - NOW for number in range(100)]
    assert all(days * DAY * (2 / 3 - 1 / 30) <= at <= days * DAY * 2 / 3 for at in times)
    assert max(times) - min(times) > days * DAY / 40
    state = certified(days)
    at = rules.renew_at(state)
    assert not rules.due(state, at - 1)
    assert rules.due(state, at)
    assert rules.due(state, NOW, wished=True)


def test_nobodys_names_that_cannot_be_had_keep_others_from_theirs():
    def failing(number, state):
        for _ in range(number):
            state = rules.failed(state, "caa: no", NOW)
        return state

    late = NOW + 80 * DAY
    under_way = rules.begun(Certified("a.example.com", "t1"), "https://ca/order/1", NOW)
    ends = certified(name="b.example.com")
    never = failing(3, certified(days=70, name="c.example.com"))
    new = Certified("d.example.com", "t1")
    asked = failing(20, Certified("e.example.com", "t2"))
    others = [failing(2, Certified(f"x{number}.example.com", "t2")) for number in range(3)]
    wished = {"e.example.com", "f.example.com"}
    lasts = certified(days=500, name="f.example.com")
    wanted = [*others, lasts, asked, new, never, ends, under_way]
    found = sorted(wanted, key=lambda one: rules.turn(one, late, one.name in wished))
    assert [one.name[0] for one in found] == list("abcdefxxx")


def test_what_has_failed_is_tried_again_each_time_later_and_never_in_a_loop():
    state, now, waits = rules.begun(Certified(NAME, "t1"), "https://ca/order/1", NOW), NOW, []
    while now < NOW + 7 * DAY:
        state = rules.failed(state, "no TXT record found", now)
        assert (state.order, state.error) == ("", "no TXT record found")
        waits.append(state.next_at - now)
        assert not rules.due(state, state.next_at - 1)
        assert rules.due(state, state.next_at)
        now = state.next_at
    assert 0.9 * HOUR <= waits[0] <= HOUR
    assert all(later == pytest.approx(min(2 * one, waits[-1])) for one, later in zip(waits, waits[1:], strict=False))
    assert 0.9 * DAY <= waits[-1] <= DAY
    assert len(waits) < 15


def test_an_authority_that_asks_for_patience_gets_it():
    state = rules.failed(certified(), "rateLimited", NOW, patience=2 * DAY)
    assert state.next_at == NOW + 2 * DAY
    assert (state.version, state.shown(NOW)) == ("1", "valid")  # what is in use stays in use
    assert rules.out(Authority(), "503", NOW, patience=DAY).paused_until == NOW + DAY


def test_an_authority_that_is_down_is_asked_less_and_less_often():
    authority, pauses = Authority(), []
    for _ in range(8):
        authority = rules.out(authority, "connection refused", NOW)
        pauses.append(authority.paused_until - NOW)
    assert pauses == [300, 600, 1200, 2400, 4800, 7200, 7200, 7200]


def test_a_name_that_does_not_point_to_us_is_looked_at_less_and_less_often():
    state, now, waits = Certified(NAME, "t1"), NOW, []
    for _ in range(10):
        state = rules.elsewhere(state, "there is no CNAME record", now)
        waits.append(state.next_at - now)
        now = state.next_at
    assert 270 <= waits[0] <= 300
    assert 0.9 * 6 * HOUR <= waits[-1] <= 6 * HOUR
    assert state.shown(now) == "waiting"
    assert rules.failed(rules.begun(state, "o", now), "caa", now).shown(now) == "failed"


def test_success_forgets_what_failed_before():
    state = rules.failed(certified(warned="1"), "caa", NOW)
    state = rules.obtained(rules.begun(state, "https://ca/order/2", NOW), "2", NOW, NOW + 90 * DAY)
    assert state == Certified(NAME, "t1", "2", NOW, NOW + 90 * DAY, ours=True)
    assert rules.next_attempt(state) == rules.renew_at(state)


@pytest.mark.parametrize(("days", "left"), [(90, 14), (45, 14), (30, 5), (6, 1)])
def test_its_end_is_told_two_weeks_before_or_when_half_the_time_to_renew_it_is_over(days, left):
    state = certified(days)
    assert not rules.ends_soon(state, state.not_after - left * DAY - 1)
    assert rules.ends_soon(state, state.not_after - left * DAY)
    assert rules.renew_at(state) < state.not_after - left * DAY
    assert not rules.ends_soon(Certified(NAME), NOW)


def test_a_mail_names_fifty_and_counts_the_rest():
    saved, told = [], []
    states = {f"host-{number}.example.com": certified(number + 1, f"host-{number}.example.com") for number in range(60)}
    tables = SimpleNamespace(
        certificates=SimpleNamespace(all=lambda: states, authority=lambda _: Authority(), save=saved.append),
        hooks=SimpleNamespace(available=True, tell=told.extend),
        events=SimpleNamespace(add=lambda *_: None),
    )
    tell_of_ending(tables, AcmeSettings("https://ca.test", "ops@example.com"), NOW + 61 * DAY)
    assert len(saved) == 60
    (notice,) = told
    assert len(json.dumps(notice.data)) < 64 * 1024
    subject, text = _ending(notice)
    assert subject == "Certificate of host-0.example.com and 59 more ends soon"
    assert text.count(" ends ") == 50
    assert "host-49.example.com" in text
    assert "\n    and 10 more\n" in text


def test_what_phones_see_is_what_is_shown():
    state = certified()
    assert state.shown(state.not_after) == "expired"
    assert rules.begun(Certified(NAME), "o", NOW).shown(NOW) == "ordered"
    assert rules.begun(state, "o", NOW).shown(NOW) == "valid"


# Whose turn it is


def test_one_region_renews_and_another_one_goes_on_when_it_is_silent():
    here = rules.take_turn(None, "eu-west-1", "run 1", 240, NOW)
    assert here is not None
    assert rules.take_turn(here, "eu-west-1", "run 2", 240, NOW + 239) is None  # one process at a time
    assert rules.take_turn(here, "us-east-1", "run 2", 240, NOW + 1799) is None
    over = rules.end_turn(here, "run 1")
    assert over is not None
    assert rules.take_turn(over, "us-east-1", "run 2", 240, NOW + 300) is None
    again = rules.take_turn(over, "eu-west-1", "run 2", 240, NOW + 300)
    assert again == RenewalTurn("eu-west-1", NOW + 2100, "run 2", NOW + 540)
    assert rules.end_turn(again, "run 1") is None  # which has woken up late
    assert rules.take_turn(again, "us-east-1", "run 3", 240, NOW + 2100) is not None


# Where


@pytest.mark.parametrize(
    ("name", "alias", "expected"),
    [
        ("edge-a.voip.test", "", ChallengePlace("Z1", "_acme-challenge.edge-a.voip.test")),
        ("edge-a.eu.voip.test", "", ChallengePlace("Z2", "_acme-challenge.edge-a.eu.voip.test")),
        ("eu.voip.test", "", ChallengePlace("Z2", "_acme-challenge.eu.voip.test")),
        (NAME, TARGET, ChallengePlace("Z3", TARGET)),
        (NAME, "", f"there is no CNAME record _acme-challenge.{NAME}; the CNAME record _acme-challenge.{NAME} has to "
         f"lead to {TARGET}"),
        (NAME, "else.example.net", f"_acme-challenge.{NAME} leads to else.example.net; the CNAME record "
         f"_acme-challenge.{NAME} has to lead to {TARGET}"),
        ("edge-a.voip.test", "else.example.net", None),
        ("xvoip.test", "", None),
    ],
)  # fmt: skip
def test_challenges_are_answered_in_the_zone_with_the_longest_name_or_where_the_alias_leads(name, alias, expected):
    found = rules.place_of(name, alias, "acme.voip.test", ZONES)
    if expected is None:
        assert isinstance(found, str)
    else:
        assert found == expected


def test_nobody_leads_to_another_names_place():
    other = rules.alias_target("other.example.com", "acme.voip.test")
    assert isinstance(rules.place_of(NAME, other, "acme.voip.test", ZONES), str)
    assert rules.place_of(NAME, TARGET, "acme.gone.test", ZONES) != ChallengePlace("Z3", TARGET)
    assert "no hosted zone" in str(
        rules.place_of(NAME, rules.alias_target(NAME, "acme.gone.test"), "acme.gone.test", ZONES)
    )
    assert rules.place_of(NAME, "", "", ZONES) == "none of our zones has it"


def test_any_name_leaves_room_for_its_challenge_or_is_told_that_it_does_not():
    label = "a" * 60
    longest = ".".join([label] * 3 + ["a" * (237 - 3 * 61)])
    assert len(rules.challenge(longest)) == 253
    assert isinstance(rules.place_of(longest, "", "", {longest: "Z"}), ChallengePlace)
    assert "too long" in str(rules.place_of("a" + longest, "", "", {longest: "Z"}))
    assert len(rules.alias_target(longest, "acme.voip.test")) < 100
