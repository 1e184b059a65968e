"""What scripts say of calls, through the real sandbox."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from lambdas.calls.evaluation import ScriptError, evaluate_example, evaluate_plan
from lambdas.decisions.rules import Plan
from lambdas.decisions.wizard import DialledCall, failures
from lambdas.sandbox.client import Refusal, Sandbox

NOON = datetime.datetime(2026, 3, 2, 12, 0, tzinfo=datetime.UTC).timestamp()
CALL = DialledCall("incoming", "+442079460001", "desk@example.com", NOON, lambda aor: aor == "desk@example.com")


class Nowhere:
    """A world with a store."""

    def __init__(self, **stored):
        self.stored = stored

    def get(self, key):
        return self.stored.get(key)

    def put(self, key, value):
        self.stored[key] = value

    def enum(self, number, zone):
        return f"sip:{number}@{zone}"

    def http_get(self, url):
        raise Refusal("http_get: not here")


@pytest.fixture(scope="module")
def sandbox():
    made = Sandbox()
    yield made
    made.close()


@pytest.fixture
def says(sandbox):
    """What a script's ``incoming`` says: its body, or a whole script."""

    def say(body, call=CALL, world=None, function="", **plan):
        script = body if "def " in body else f"def incoming(call):\n    {body}\n"
        made = Plan.model_validate({"script": script, **plan})
        return evaluate_plan(made, call, world or Nowhere(), sandbox, "t1", "office v1", function)

    return say


def steps(judged):
    return [
        (
            [leg.who for leg in step.legs]
            or step.forward
            or step.redirect
            or step.again
            or step.as_dialled
            or step.reject.status
        )
        for step in judged.verdict.steps
    ]


def test_ring_then_reject(says):
    judged = says(
        'return then(ring("desk", "bob@example.com", timeout = 20), ring("+447700900123@voip1"), reject(480, "Gone"))'
    )
    assert steps(judged) == [["desk@example.com", "bob@example.com"], ["+447700900123"], 480]
    first, second, last = judged.verdict.steps
    assert (first.timeout, first.statuses, second.legs[0].providers, last.reject.reason) == (20, (), ["voip1"], "Gone")


def test_outcomes_say_what_comes_next_and_what_belongs_to_it(says):
    busy = 'then(ring("voicemail"), reject(486), on = ["failed"])'
    judged = says(f'return then(then(ring("desk"), {busy}, on = ["busy"]), ring("mobile"), on = ["no-answer"])')
    assert steps(judged) == [["desk@example.com"], ["voicemail@example.com"], 486, ["mobile@example.com"]]
    assert [step.statuses for step in judged.verdict.steps] == [(), (486, 600), (), (408, 487)]
    assert [step.part_of for step in judged.verdict.steps] == [-1, -1, 1, -1]


@pytest.mark.parametrize(
    ("text", "rings", "after", "longest"),
    [
        ("a&b|c[dt=5]", [["a@example.com", "b@example.com"], ["c@example.com"]], [[0, 0], [5]], [0, 0]),
        ("a@local", [["a@example.com"]], [[0]], [0]),
        ("00447700900123@voip1[cd=60]", [["00447700900123"]], [[0]], [60]),
        ("sip:x@example.net & +4420", [["sip:x@example.net", "+4420"]], [[0, 0]], [0]),
        ("1234[dt=2,cd=30]", [["1234"]], [[2]], [30]),
    ],
)
def test_dial_strings(says, text, rings, after, longest):
    judged = says(f'return dial("{text}", timeout = 30)')
    assert steps(judged) == rings
    assert [[leg.after for leg in step.legs] for step in judged.verdict.steps] == after
    assert [step.max_duration for step in judged.verdict.steps] == longest
    assert {step.timeout for step in judged.verdict.steps} == {30}


@pytest.mark.parametrize(("text", "why"), [("a&", "nobody"), ("a[fu=x]", "fu isn't known"), ("", "nobody")])
def test_dial_strings_that_cant_be_used(says, text, why):
    with pytest.raises(ScriptError, match=why):
        says(f'return dial("{text}")')


SCRIPT = """
def incoming(call):
    if call.anonymous or in_list("pests", call.caller):
        return reject(433)
    if get("night") == "on" or now()["time"] >= "18:00":
        return forward("voicemail@example.com")
    if not registered("desk@example.com"):
        return redirect("sip:away@example.net")
    return then(ring("group:all", in_turn = True, early_media = "ringing"), later)

def later(call):
    put("missed", call.caller)
    log("nobody answered", call.outcomes)
    return ring("mobile", max_duration = 60) if call.outcome == "busy" else reject(480)

def outgoing(call):
    return as_dialled(strip = 1, prefix = "+", caller_id = "+4420")
"""
PLAN = {
    "script": SCRIPT,
    "lists": {"pests": ["+1900*"]},
    "groups": {"all": [{"account": "desk@example.com"}, {"account": "bob@example.com"}]},
}


@pytest.mark.parametrize(
    ("call", "stored", "wanted"),
    [
        (CALL, {}, [["desk@example.com"], ["bob@example.com"], "later"]),
        (replace(CALL, caller="anonymous@anonymous.invalid"), {}, [433]),
        (replace(CALL, caller="+19005550100"), {}, [433]),
        (CALL, {"night": "on"}, ["voicemail@example.com"]),
        (replace(CALL, at=NOON + 7 * 3600), {}, ["voicemail@example.com"]),
        (replace(CALL, registered=lambda aor: False), {}, ["sip:away@example.net"]),
        (replace(CALL, direction="outgoing", called="0044123"), {}, [True]),
    ],
)
def test_a_script_by_the_call_and_the_world(says, call, stored, wanted):
    judged = says(
        call=call,
        world=Nowhere(**stored),
        body=SCRIPT,
        **{key: value for key, value in PLAN.items() if key != "script"},
    )
    assert steps(judged) == wanted
    assert judged.verdict.inputs.caller


def test_a_script_is_asked_again_with_what_has_happened(says):
    world = Nowhere()
    rest = {key: value for key, value in PLAN.items() if key != "script"}
    judged = says(SCRIPT, replace(CALL, outcomes=(408, 486)), world, "later", **rest)
    assert steps(judged) == [["mobile@example.com"]]
    assert judged.verdict.steps[0].max_duration == 60
    assert judged.log == ("nobody answered [408, 486]",)
    assert world.stored == {"missed": "+442079460001"}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return 5", "is not a plan"),
        ("return None", "is not a plan"),
        ('return [{"ring": 5}]', "ring"),
        ('return [{"colour": "red"}]', "colour"),
        ("return reject(200)", "greater than or equal to 400"),
        ('return reject(480, "a\\r\\nVia: x")', "pattern"),
        ('return ring("group:none")', "doesn't have"),
        ('return ring("a") * 60', "at most 50"),
        ('return [{"part_of": 3, "as_dialled": True}]', "later one"),
        ("return [{}]", "does nothing"),
        ("return ring()", "at least 1"),
        ('return ring("desk", headers = 1)', "headers"),
        ('return in_list("none", "x")', "no list"),
        ("return get(5)", "text"),
        ('return http_get("http://x")', "not here"),
        ("x = now()\n    return nosuch()", "nosuch"),
    ],
)
def test_results_that_cant_be_used_say_why(says, body, why):
    with pytest.raises(ScriptError, match=why):
        says(body)


def test_what_decides_may_be_kept_unless_the_world_was_asked(says):
    assert not says('return ring("desk")').verdict.inputs.volatile
    for asks in ("now()", 'registered("a")', 'get("a")', 'put("a", "b")', 'enum("+44")', 'do_not_disturb("a")'):
        assert says(f'{asks}\n    return ring("desk")').verdict.inputs.volatile, asks


def test_examples_have_a_world_of_their_own(sandbox):
    example = {
        "caller": "+4420",
        "called": "desk@example.com",
        "at": "2026-03-02T12:00:00Z",
        "registered": ["desk@example.com"],
    }
    made = Plan.model_validate(
        {
            **PLAN,
            "examples": [
                {**example, "rings": ["desk@example.com", "bob@example.com"]},
                {
                    **example,
                    "rings": ["desk@example.com", "bob@example.com", "mobile@example.com"],
                    "outcomes": [408, 486],
                },
                {**example, "outcomes": [408, 408], "status": 480},
                {**example, "store": {"night": "on"}, "forward": "voicemail@example.com"},
                {**example, "forward": "voicemail@example.com"},
            ],
        }
    )
    assert failures(made, evaluate_example(made, sandbox, "t1", "office")) == [
        "example 5: forwards to nobody, not voicemail@example.com"
    ]


def test_no_state_stays_between_runs(says):
    body = "seen = []\ndef incoming(call):\n    seen.append(1)\n    return ring(*(['a'] * len(seen)))"
    for _ in range(3):
        assert steps(says(body)) == [["a@example.com"]]
