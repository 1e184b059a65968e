"""``scripts/bench plans``: what dial plans add to a decision, alone and through a real edge, control plane and DynamoDB
(MiniStack)."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.sip.transaction.client import make_ack
from lambdas.api.judging import judge
from lambdas.decisions.rules import Plan
from lambdas.decisions.wizard import Call, evaluate
from lambdas.sandbox.client import Sandbox
from scripts.bench_fleet import random_base
from scripts.fleet import loopback_fleet
from scripts.fleet_parts import DOMAIN, SIP, Host, PhoneAccount
from tests.support.socket_phone import SocketPhone

_AT = 1_772_452_800.0
_CALL = Call("incoming", "+1212", "alice@example.com", _AT, lambda aor: False)
_SCRIPT = """
def incoming(call):
    hour = now()["time"]
    if in_list("pests", call.caller):
        return reject(603)
    if hour < "00:01":
        return forward("voicemail@example.com")
    return then(ring("desk", "workshop", timeout = 20), dial("a&b|c[dt=5]"), reject(480, "Nobody is there"))
"""


def _rules(number: int, last: dict[str, Any]) -> Plan:
    """A plan all of whose conditions are looked at."""
    hours = [{"since": "09:00", "until": "17:00"}]
    made = [
        {"name": f"{n}", "when": {"hours": hours, "caller": [f"+4{n}*"]}, "reject": {}} for n in range(100, 99 + number)
    ]
    return Plan.model_validate({"rules": [*made, {"name": "last", **last}], "time_zone": "Europe/London"})


def plans(say: Callable[..., None], rules: int, calls: int) -> None:
    """Each kind alone, then as part of a decision."""
    plan = _rules(rules, {"as_dialled": True})

    def round_() -> float:
        begun = time.process_time()
        for _ in range(200):
            evaluate(plan, _CALL)
        return (time.process_time() - begun) / 200 * 1e6

    say("plan by rules", min(round_() for _ in range(20)), "µs CPU", rules=rules, goal=2000)
    _script(say)
    _decisions(say, rules, calls)


def _script(say: Callable[..., None]) -> None:
    plan = Plan.model_validate({"script": _SCRIPT, "lists": {"pests": ["+44*"]}})
    before = _children()
    sandbox = Sandbox()
    try:
        judge(plan, _CALL, None, sandbox, "t", "bench")  # type: ignore[arg-type] # it asks for nothing outside
        taken = []
        for _ in range(300):
            begun = time.perf_counter()
            judge(plan, _CALL, None, sandbox, "t", "bench")  # type: ignore[arg-type]
            taken.append(time.perf_counter() - begun)
        say("plan by a script", statistics.median(taken) * 1e3, "ms", goal=10, worst=round(max(taken) * 1e3, 1))
    finally:
        sandbox.close()
    say("plan by a script", (_children() - before) / 301 * 1e3, "ms CPU of its process, the server's start included")


def _children() -> float:
    """Seconds of CPU that processes have used that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _decisions(say: Callable[..., None], rules: int, calls: int) -> None:
    """Calls to accounts that differ in their plan only, in turn: from INVITE to refusal."""
    base = random_base()
    with tempfile.TemporaryDirectory() as directory:
        fleet = loopback_fleet(Path(directory), base, 1)
        try:
            fleet.start()
            owner = fleet.client.api("GET", f"/v1/accounts/alice@{DOMAIN}")["tenant"]
            example = {"caller": "+1", "called": f"x@{DOMAIN}", "at": "2026-03-02T12:00:00Z"}
            script = _SCRIPT.replace('return then(ring("desk"', 'return as_dialled()\n    return then(ring("desk"')
            for name, plan in (
                ("rules", _rules(rules, {"as_dialled": True}).model_dump(mode="json", exclude_defaults=True)),
                ("script", {"script": script, "lists": {"pests": ["+44*"]}, "examples": [example]}),
            ):
                fleet.client.api("POST", f"/v1/plans/{name}/versions?tenant={owner}", {"plan": plan, "publish": True})
            for user, name in (("bob", ""), ("carol", "rules"), ("dave", "script")):
                fleet.client.api("PATCH", f"/v1/accounts/{user}@{DOMAIN}", {"plan": name})
            account: PhoneAccount = fleet.accounts["alice"]
            with SocketPhone(account, DOMAIN, Host(base), (fleet.edges[0].address, SIP)) as alice:
                taken: dict[str, list[float]] = {"bob": [], "carol": [], "dave": []}
                for _ in range(calls):
                    for user, times in taken.items():
                        times.append(_refused(alice, f"sip:{user}@{DOMAIN}"))
            plain, by_rules, by_script = (statistics.median(times) * 1e3 for times in taken.values())
        finally:
            fleet.stop()
    say("decision without a plan", plain, "ms from INVITE to refusal", calls=calls)
    say("decision by rules", by_rules - plain, "ms more", rules=rules, goal=2)
    say("decision by a script", by_script - plain, "ms more", goal=10)


def _refused(phone: SocketPhone, uri: str) -> float:
    phone.agent.received.clear()
    begun = time.perf_counter()
    invite = phone.invite(uri)
    final = phone.wait(lambda: phone.agent.final(invite))
    taken = time.perf_counter() - begun
    assert final.status == 480, final.start_line
    phone.send(make_ack(invite, final).to_bytes())
    return taken
