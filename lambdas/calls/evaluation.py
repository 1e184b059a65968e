"""Evaluation of a dial plan for a call: rules are read here, scripts run in the sandbox, with what they may know of the
world."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lambdas.contract import OUTCOMES
from lambdas.decisions import wizard
from lambdas.decisions.clock import clock_of
from lambdas.decisions.rules import DAYS, Example, Plan, ScriptAction
from lambdas.decisions.wizard import DialledCall, Inputs, Verdict
from lambdas.sandbox.bounds import WALL
from lambdas.sandbox.client import Ran, Refusal, Sandbox

_ACTIONS: TypeAdapter[list[ScriptAction]] = TypeAdapter(list[ScriptAction], config=ConfigDict(defer_build=True))
_MOST_ACTIONS = 50
_EXAMPLES = 5.0  # seconds
_VOLATILE = frozenset(("now", "registered", "do_not_disturb", "get", "put", "enum", "http_get"))
"""What makes another run's result another one."""


class World(Protocol):
    """What a script may ask for. Each raises Refusal where it may not have it."""

    def get(self, key: str) -> str | None: ...

    def put(self, key: str, value: str) -> None: ...

    def enum(self, number: str, zone: str) -> str: ...

    def http_get(self, url: str) -> dict[str, Any]:
        """``status`` and ``text``."""


class ScriptError(Exception):
    """The script has no result that can be used; the text says why and where, ``log`` what it had written."""

    def __init__(self, why: str, log: tuple[str, ...]) -> None:
        super().__init__(why)
        self.log = log


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a plan says, and what its script has written to its ``log``."""

    verdict: Verdict
    log: tuple[str, ...] = ()


def evaluate_plan(
    plan: Plan,
    call: DialledCall,
    world: World,
    sandbox: Sandbox,
    owner: str,
    name: str,
    function: str = "",
    explain: bool = False,
    seconds: float = WALL,
) -> Evaluated:
    """``owner`` is the tenant, ``name`` stands for the plan in errors, ``function`` is the script's to ask if it isn't
    the one for the call's direction; it has ``seconds`` at most. Raises ScriptError, which has the log."""
    if plan.rules:
        return Evaluated(wizard.evaluate(plan, call, explain))
    host = _host(plan, call, world)
    ran = sandbox.run(owner, _job(plan, call, name, function or call.direction), host, seconds)
    if ran.error:
        raise ScriptError(ran.error, ran.log)
    steps = _steps(plan, ran, call)
    # Who calls may have been read by any line, so what is decided is decided for this caller.
    inputs = Inputs(caller=True, volatile=bool(ran.read & _VOLATILE))
    return Evaluated(Verdict(steps, inputs), ran.log)


def evaluate_example(plan: Plan, sandbox: Sandbox, owner: str, name: str) -> Callable[[Example], Verdict]:
    """For ``wizard.failures``: a script's run in the example's own world. All together have 5 s."""
    end = time.monotonic() + _EXAMPLES

    def evaluated(example: Example) -> Verdict:
        if time.monotonic() > end:
            raise ScriptError(f"its examples take more than {_EXAMPLES:.0f} s", ())
        call = wizard.call_of(example)
        world = _ExampleWorld(example)
        verdict = evaluate_plan(plan, call, world, sandbox, owner, name).verdict
        again = next((step.again for step in verdict.steps if step.again), "")
        if again and example.outcomes:
            later = wizard.tried(call, tuple(example.outcomes))
            more = evaluate_plan(plan, later, world, sandbox, owner, name, again).verdict
            verdict = Verdict((*(step for step in verdict.steps if not step.again), *more.steps))
        return verdict

    return evaluated


def _job(plan: Plan, call: DialledCall, name: str, function: str) -> dict[str, Any]:
    clock = clock_of(plan, call.at)
    outcome = next((kind for kind, statuses in OUTCOMES.items() if call.outcomes and call.outcomes[-1] in statuses), "")
    return {
        "name": name,
        "script": plan.script,
        "function": function,
        "domain": (call.called if call.direction == "incoming" else call.caller).rpartition("@")[2],
        "call": {
            "direction": call.direction,
            "caller": call.caller,
            "called": call.called,
            "provider": call.provider,
            "anonymous": call.anonymous,
            "outcomes": list(call.outcomes),
            "outcome": outcome or ("failed" if call.outcomes else ""),
        },
        "now": {
            "day": DAYS[clock.day],
            "time": f"{clock.minute // 60:02d}:{clock.minute % 60:02d}",
            "date": clock.date.isoformat(),
            "holiday": clock.holiday,
            "unix": int(call.at),
        },
    }


def _steps(plan: Plan, ran: Ran, call: DialledCall) -> tuple[wizard.Step, ...]:
    if not isinstance(ran.value, list) or len(ran.value) > _MOST_ACTIONS:
        what = "a plan; make one with ring, forward, reject, redirect, as_dialled, then or dial"
        if isinstance(ran.value, list):
            what = f"a plan of at most {_MOST_ACTIONS} actions"
        raise ScriptError(f"what it returns is not {what}", ran.log)
    try:
        return wizard.follow(plan, _ACTIONS.validate_python(ran.value), call)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ScriptError(f"what it returns can't be used: {where}: {first['msg']}", ran.log) from error
    except ValueError as error:
        raise ScriptError(f"what it returns can't be used: {error}", ran.log) from error


def _host(plan: Plan, call: DialledCall, world: World) -> Callable[[str, list[Any]], Any]:
    def answer(name: str, arguments: list[Any]) -> Any:
        wanted = 2 if name in ("in_list", "get", "put", "enum") else 1
        texts = arguments[:1] if name == "get" else arguments
        if len(arguments) != wanted or not all(isinstance(one, str) for one in texts):
            raise Refusal(f"{name}: its arguments have to be text")
        match name:
            case "registered":
                return call.registered(arguments[0])
            case "do_not_disturb":
                return call.disturbing(arguments[0])
            case "in_list":
                if arguments[0] not in plan.lists:
                    raise Refusal(f"in_list: the plan has no list {arguments[0]!r}")
                return wizard.matches(plan.lists[arguments[0]], arguments[1])
            case "get":
                found = world.get(arguments[0])
                return arguments[1] if found is None else found
            case "put":
                return world.put(arguments[0], arguments[1])
            case "enum":
                return world.enum(arguments[0], arguments[1])
            case "http_get":
                return world.http_get(arguments[0])
        raise Refusal(f"{name} isn't known")

    return answer


class _ExampleWorld:
    """As an example says that it is."""

    def __init__(self, example: Example) -> None:
        self._example = example
        self._store = dict(example.store)

    def get(self, key: str) -> str | None:
        return self._store.get(key)

    def put(self, key: str, value: str) -> None:
        self._store[key] = value

    def enum(self, number: str, zone: str) -> str:
        return self._example.enum.get(number, "")

    def http_get(self, url: str) -> dict[str, Any]:
        if url not in self._example.pages:
            raise Refusal(f"http_get: the example has no page {url}")
        return {"status": 200, "text": self._example.pages[url]}
