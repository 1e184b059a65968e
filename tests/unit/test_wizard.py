"""Dial plans by rules: which fire, when, and what becomes of the call."""

from __future__ import annotations

import datetime
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from lambdas.api.yaml_bodies import as_json
from lambdas.calls import script_world
from lambdas.calls.evaluation import evaluate_example
from lambdas.decisions.continuation import MOST
from lambdas.decisions.rules import Plan
from lambdas.decisions.wizard import DialledCall, evaluate, failures
from lambdas.sandbox import bounds
from lambdas.sandbox.client import Sandbox

MONDAY_NOON = datetime.datetime(2026, 3, 2, 12, 0, tzinfo=datetime.UTC).timestamp()
CALL = DialledCall("incoming", "+442079460001", "alice@example.com", MONDAY_NOON, lambda aor: False)
BOB = {"ring": {"legs": [{"account": "bob@example.com"}], "timeout": 20}}


@pytest.fixture(scope="module")
def sandbox():
    made = Sandbox()
    yield made
    made.close()


def plan(*rules, **kwargs):
    made = [{"name": f"rule {number}", **rule} for number, rule in enumerate(rules, 1)]
    return Plan.model_validate({"rules": made, **kwargs})


def fires(when, call=CALL, **kwargs):
    return bool(evaluate(plan({"when": when, **BOB}, **kwargs), call).steps)


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({}, True),
        ({"direction": "incoming"}, True),
        ({"direction": "outgoing"}, False),
        ({"called": ["bob@*", "alice@*"]}, True),
        ({"called": ["al?ce@example.com"]}, True),
        ({"called": ["[ab]lice@example.com"]}, False),  # brackets mean themselves
        ({"caller": ["+4420*"]}, True),
        ({"caller": ["+49*"]}, False),
        ({"caller_in": "friends"}, True),
        ({"anonymous": True}, False),
        ({"provider": ["voip1"]}, False),
        ({"holiday": True}, False),
        ({"registered": "alice@example.com"}, False),
        ({"not_registered": "alice@example.com"}, True),
        ({"after": ["busy"]}, False),
        ({"direction": "incoming", "caller": ["+49*"]}, False),
    ],
)
def test_conditions(when, holds):
    assert fires(when, lists={"friends": ["+4420794600??"]}) == holds


@pytest.mark.parametrize(
    ("hours", "zone", "at", "holds"),
    [
        ({"since": "09:00", "until": "17:00"}, "UTC", "2026-03-02T09:00", True),
        ({"since": "09:00", "until": "17:00"}, "UTC", "2026-03-02T17:00", False),
        ({"since": "09:00", "until": "17:00"}, "America/New_York", "2026-03-02T13:59", False),
        ({"since": "09:00", "until": "17:00"}, "America/New_York", "2026-03-02T14:00", True),
        ({"since": "09:00", "until": "17:00"}, "America/New_York", "2026-03-09T13:00", True),  # summer time
        ({"days": ["sat", "sun"]}, "UTC", "2026-03-07T23:59", True),
        ({"days": ["sat", "sun"]}, "UTC", "2026-03-09T00:00", False),
        ({"days": ["fri"], "since": "22:00", "until": "06:00"}, "UTC", "2026-03-07T05:59", True),
        ({"days": ["fri"], "since": "22:00", "until": "06:00"}, "UTC", "2026-03-06T05:59", False),
    ],
)
def test_hours_in_the_plans_time_zone(hours, zone, at, holds):
    moment = datetime.datetime.fromisoformat(at).replace(tzinfo=datetime.UTC).timestamp()
    assert fires({"hours": [hours]}, replace(CALL, at=moment), time_zone=zone) == holds


def test_holidays_are_days_of_the_time_zone():
    late = datetime.datetime(2026, 12, 24, 23, 30, tzinfo=datetime.UTC).timestamp()
    call = replace(CALL, at=late)
    assert fires({"holiday": True}, call, time_zone="Europe/Berlin", holidays=["2026-12-25"])
    assert not fires({"holiday": True}, call, time_zone="UTC", holidays=["2026-12-25"])


def test_stages_outcomes_and_the_end():
    verdict = evaluate(
        plan(
            {"ring": {"legs": [{"account": "a@x"}, {"account": "b@x", "after": 5}], "timeout": 20}},
            {"when": {"after": ["busy", "declined"]}, "ring": {"legs": [{"number": "+441"}]}},
            {"when": {"after": ["failed"]}, "ring": {"legs": [{"number": "+442"}]}},
            {"reject": {"status": 480, "reason": "Gone"}},
            {"name": "never", **BOB},
        ),
        CALL,
        explain=True,
    )
    assert [step.statuses for step in verdict.steps] == [(), (486, 600, 603, 607, 608), (), ()]
    assert (verdict.status, verdict.steps[-1].reject.reason) == (480, "Gone")
    assert [name for name, _ in verdict.fired] == ["rule 1", "rule 2", "rule 3", "rule 4"]


def test_an_end_after_one_outcome_leaves_the_rules_below_to_the_others():
    verdict = evaluate(
        plan(
            BOB,
            {"when": {"after": ["busy"]}, "reject": {"status": 486}},
            {"when": {"after": ["no-answer"]}, "forward": "voicemail@example.com"},
            {"redirect": "sip:away@example.net"},
            {"name": "never", **BOB},
        ),
        CALL,
    )
    first, busy, missed, last = verdict.steps
    assert (busy.statuses, busy.reject.status, missed.statuses, missed.forward) == (
        (486, 600), 486, (408, 487), "voicemail@example.com",
    )  # fmt: skip
    assert (last.statuses, last.redirect) == ((), "sip:away@example.net")


def test_groups_ring_in_turn_as_one_step_with_parts():
    groups = {"sales": [{"account": "a@x", "after": 1}, {"account": "b@x", "headers": ["X-B: 1"]}]}
    ring = {
        "legs": [{"group": "sales", "after": 2, "headers": ["X-A: 1"]}, {"number": "+44"}],
        "timeout": 12,
        "in_turn": True,
    }
    verdict = evaluate(plan(BOB, {"when": {"after": ["busy"]}, "ring": ring}, groups=groups), CALL)
    assert verdict.rings == ["bob@example.com", "a@x", "b@x", "+44"]
    assert [step.statuses for step in verdict.steps] == [(), (486, 600), (), ()]
    assert [step.part_of for step in verdict.steps] == [-1, -1, 1, 1]
    assert [step.legs[0].after for step in verdict.steps] == [0, 3, 2, 0]
    assert verdict.steps[2].legs[0].headers == ["X-A: 1", "X-B: 1"]


def test_limits_and_numbers_are_those_of_the_rules_above():
    verdict = evaluate(plan({"max_duration": 60, **BOB}, {"max_duration": 0}, BOB, {"as_dialled": True}), CALL)
    assert [step.max_duration for step in verdict.steps] == [60, 0, 0]


@pytest.mark.parametrize(
    ("when", "caller", "seconds", "volatile"),
    [
        ({}, False, None, False),
        ({"caller": ["+49*"]}, True, None, False),
        ({"anonymous": False}, True, None, False),
        ({"hours": [{"since": "09:00", "until": "17:30"}]}, False, 5.5 * 3600, False),
        ({"hours": [{"since": "13:00", "until": "14:00"}]}, False, 3600, False),
        ({"holiday": True}, False, 12 * 3600, False),
        ({"registered": "x@y"}, False, None, True),
        ({"do_not_disturb": "x@y"}, False, None, True),
        ({"direction": "outgoing", "caller": ["x"], "registered": "x@y"}, False, None, False),  # not looked at
    ],
)
def test_what_a_verdict_rests_on(when, caller, seconds, volatile):
    inputs = evaluate(plan({"when": when, **BOB}, {"as_dialled": True}), CALL).inputs
    assert (inputs.caller, inputs.volatile) == (caller, volatile)
    assert inputs.until == (CALL.at + seconds if seconds else float("inf"))


def test_numbers_are_changed_for_what_follows():
    (step,) = evaluate(
        plan(
            {"when": {"called": ["9*"]}, "strip": 1, "caller_id": "+44207"},
            {"when": {"called": ["00*"]}, "strip": 2, "prefix": "+"},
            {"as_dialled": True},
        ),
        replace(CALL, direction="outgoing", called="90049301234"),
    ).steps
    assert (step.called, step.caller_id, step.as_dialled) == ("+49301234", "+44207", True)


def test_a_plan_explains_itself():
    verdict = evaluate(plan({"when": {"caller": ["+49*"]}, **BOB}, {"reject": {}}), CALL, explain=True)
    assert verdict.fired == (("rule 1", "+442079460001 is none of +49*"), ("rule 2", "fired"))


def test_examples_are_tests():
    made = plan(
        {"when": {"registered": "bob@example.com"}, **BOB},
        {"reject": {"status": 486}},
        examples=[
            {"caller": "+1", "called": "x", "at": "2026-03-02T12:00:00Z", "rings": [], "status": 486},
            {
                "caller": "+1",
                "called": "x",
                "at": "2026-03-02T12:00:00Z",
                "registered": ["bob@example.com"],
                "rings": ["bob@example.com"],
            },
            {"caller": "+1", "called": "x", "at": "2026-03-02T12:00:00Z", "rings": ["bob@example.com"], "status": 603},
        ],
    )
    assert failures(made) == [
        "example 3: rings [], not ['bob@example.com']",
        "example 3: answers 486, not 603",
    ]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({}, "does nothing"),
        ({"ring": {"legs": []}}, "at least 1"),
        ({"ring": {"legs": [{}]}}, "account or a number"),
        ({"ring": {"legs": [{"account": "a@x", "headers": ["Via: x"]}]}}, "via may not be set"),
        ({"ring": {"legs": [{"account": "a@x", "headers": ["X-A: b\r\nVia: c"]}]}}, "pattern"),
        ({**BOB, "reject": {}}, "has one of"),
        ({"forward": "a@x", "reject": {}}, "has one of"),
        ({"ring": {"legs": [{"group": "none"}]}}, "doesn't have"),
        ({"ring": {"legs": [{"uri": "sip:a@b?Route=c"}]}}, "pattern"),
        ({"ring": {"legs": [{"number": "1", "enum": "a b"}]}}, "pattern"),
        ({"max_duration": -1, **BOB}, "0"),
        ({"forward": "sip:a@b\r\nVia: c"}, "not like"),
        ({"forward": "a b@c"}, "not like"),
        ({"forward": "sip:a@b?Route=c"}, "not like"),
        ({"forward": ""}, "not like"),
        ({"reject": {"status": 200}}, "400"),
        ({"redirect": "sip:a@b\r\nVia: c"}, "pattern"),
        ({"when": {"hours": [{"since": "25:00"}]}, **BOB}, "hour"),
        ({"when": {"caller_in": "nobody"}, **BOB}, "doesn't have"),
        ({"when": {"colour": "red"}, **BOB}, "extra"),
    ],
)
def test_broken_plans_say_what_is_wrong(rule, says):
    with pytest.raises(ValidationError) as caught:
        plan(rule)
    assert says.lower() in str(caught.value).lower()


def test_other_broken_parts():
    for broken in ({"script": "x"}, {"groups": {"a": [{"group": "a"}]}}, {"groups": {"a": []}}):
        with pytest.raises(ValidationError):
            plan(BOB, **broken)
    with pytest.raises(ValidationError):
        plan()
    for broken in ({"time_zone": "Mars/Base"}, {"holidays": ["soon"]}, {"lists": {"a": [""]}}):
        with pytest.raises(ValidationError):
            plan(BOB, **broken)
    with pytest.raises(ValidationError):
        plan(*[BOB] * 101)


DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "dialplans.md"
RECIPES = re.findall(
    r"^## \d+\. (.*?)\n.*?```yaml\n(.*?)```",
    DOCUMENT.read_text(),
    re.MULTILINE | re.DOTALL,
)


def test_there_are_recipes():
    assert len(RECIPES) == 12


@pytest.mark.parametrize(("title", "text"), RECIPES, ids=[title for title, _ in RECIPES])
def test_recipes_do_what_their_examples_say(title, text, sandbox):
    made = Plan.model_validate_json(as_json(text.encode()))
    assert made.examples
    judge = evaluate_example(made, sandbox, "t1", "recipe") if made.script else None
    assert failures(made, judge) == []


def test_the_documented_bounds_are_those_of_the_sandbox():
    text = DOCUMENT.read_text()
    for bound in (
        f"| {bounds.CPU * 1000:.0f} ms ({bounds.CPU_HARD * 1000:.0f} ms inside one operation)",
        f"| {bounds.WALL} s |",
        f"| {bounds.MEMORY // 1024 // 1024} MB beside",
        f"| calls within each other | {bounds.STACK} |",
        f"| {bounds.RESULT // 1024} KB; 50 |",
        f"| {bounds.LOG_LINES} lines of {bounds.LOG_LINE} characters;",
        f"| {bounds.QUESTIONS}, of which {script_world.GETS} `get`, {script_world.PUTS} `put`, "
        f"{script_world.NUMBERS} `enum` (1 s), {script_world.PAGES} `http_get` (1.5 s, 16 KB) |",
        f"| {script_world.PUTS_A_MINUTE} a minute for a tenant |",
        f"| {bounds.AT_ONCE_FOR_ONE} for a tenant, {bounds.AT_ONCE} in all,",
        f"| {MOST} times in a call |",
    ):
        assert bound in text, bound


def test_fifty_rules_are_read_fast():
    rules = [{"when": {"caller": [f"+4{number}*"], "hours": [{"since": "09:00"}]}, **BOB} for number in range(100, 149)]
    made = plan(*rules, {"as_dialled": True}, time_zone="Europe/London")
    begun = time.process_time()
    for _ in range(100):
        evaluate(made, CALL)
    assert (time.process_time() - begun) / 100 < 0.002
