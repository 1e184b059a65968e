"""Write what the code of a commit leaves behind: ``python tests/compat/write_fixtures.py``, from a full clone. The code
of that commit itself does it, in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

COMMIT = "881e754"
HERE = Path(__file__).parent
ROOT = HERE.parent.parent
STATE_KEY = bytes(range(32))
BINDING = "WfYYGXufTJM"
TENANT = "t0123456789ab"
PHONES = (("alice", "edge-a"), ("bob", "edge-b"), ("carol", "edge-a"))
INSTANCE = "urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF"  # bob's


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", name], input=archive, check=True)
        command = [sys.executable, "-B", str(Path(__file__)), str(HERE / COMMIT)]
        environment = {**os.environ, "PYTHONPATH": name, "PYTHONSAFEPATH": "1", "TABLE_PREFIX": "sipwizard"}
        subprocess.run(command, cwd=name, env={**environment, "AWS_DEFAULT_REGION": "us-east-1"}, check=True)


def then(module: str) -> Any:
    """A module of that commit: it needn't be there today."""
    return importlib.import_module(module)


def write(directory: Path) -> None:
    """In the code of that commit, and with its own world for tests."""
    support, flow_token = then("tests.support.world"), then("edge.proxy.flow_token")
    contract, Flow = then("lambdas.contract"), then("edge.sip.flow").Flow
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    world = support.World()
    for user in ("alice", "bob", "carol"):
        world.control.add(user, f"pw-{user}", TENANT)
    alice, bob, carol = (world.phone(user, edge) for user, edge in PHONES)
    bob.agent.instance = INSTANCE
    assert alice.register() == bob.register() == carol.register() == 200
    node = world.nodes["edge-a"]

    # Calls: one that is answered and goes on, one that nobody takes, one that has ended.
    going_on = _call(world, alice, bob)
    refused = alice.start_call(f"sip:bob@{support.DOMAIN}")
    incoming = world.wait(lambda: next(iter(bob.agent.requests("INVITE")), None))
    bob.send(bob.agent.response(incoming, 486).to_bytes())
    alice.ack_refusal(refused, world.wait(lambda: alice.agent.final(refused)))
    over, _ = _call(world, alice, carol)
    bye = alice.agent.in_dialog(over, "BYE")
    alice.send(bye.to_bytes())
    got = world.wait(lambda: next(iter(carol.agent.requests("BYE")), None))
    carol.send(carol.agent.response(got, 200).to_bytes())
    world.wait(lambda: alice.agent.final(bye))
    world.run(1.0)
    reports = world.control.reports

    # What is on the edge's disk.
    store = then("edge.control.store").Store(directory / "kept.sqlite", STATE_KEY)
    store.keep("record", node.core.memory.take_changed(100, world.now))
    route = contract.Route(targets=[], tenant=TENANT, keep=contract.Keep(seconds=600, plans=[f"{TENANT}/night"]))
    node.core.kept.keep(TENANT, f"bob@{support.DOMAIN}", route, support.WALL + world.now)
    store.keep("route", node.core.kept.take_changed(100))
    reply = contract.HeartbeatReply.model_validate(
        json.loads((HERE.parent / "unit/contract/v6.json").read_text())["HeartbeatReply"]
    )
    news = {"reply": reply.model_dump(mode="json"), "domains": {support.DOMAIN: support.DOMAIN}, "at": support.WALL}
    store.keep("news", [("last", json.dumps(news).encode())])
    store.close()
    asyncio.run(_journal(then("edge.control.journal").Journal, directory / "journal", reports))
    (directory / "journal" / "ballast").unlink()

    # What is in phones' dialogs.
    keys = flow_token.TokenKeys(support.TOKEN_KEYS, 7)
    flow = Flow("203.0.113.11", 5060, "udp", "192.0.2.1", 30000)
    streams = Flow("203.0.113.12", 5061, "tcp", "2001:db8::1", 40000, 9)
    tokens = [
        (flow, "", "a@b", flow_token.CallReference()),
        (flow, BINDING, "a@b", flow_token.CallReference("t0123456789ab", 1_800_000_000, True)),
        (streams, BINDING, "c@d", flow_token.CallReference("t0123456789ab", 1_800_000_000, False)),
    ]
    written = {
        "clock": support.WALL + world.now,
        "domain": support.DOMAIN,
        "caller": dataclasses.asdict(going_on[0]),
        "called": dataclasses.asdict(going_on[1]),
        "keys": {str(number): base64.b64encode(key).decode() for number, key in support.TOKEN_KEYS.items()},
        "current": 7,
        "tokens": [
            {
                "flow": one,
                "binding": binding,
                "call_id": call_id,
                "call": call,
                "token": keys.seal(one, binding, call_id, call),
            }
            for one, binding, call_id, call in tokens
        ],
        "ways": _ways(flow, streams, keys),
        "bindings": _bindings(world.control.items.values()),
        "calls": _calls(reports),
    }
    (directory / "written.json").write_text(json.dumps(written, indent=1) + "\n")


def _call(world, caller, callee):
    """An answered call: both sides of the dialog."""
    callee.agent.received.clear()
    invite = caller.start_call(f"sip:{callee.agent.username}@{caller.agent.domain}")
    incoming = world.wait(lambda: next(iter(callee.agent.requests("INVITE")), None))
    ok = callee.agent.response(incoming, 200)
    callee.send(ok.to_bytes())
    dialog = caller.agent.caller_dialog(invite, world.wait(lambda: caller.agent.final(invite)))
    caller.send(caller.agent.in_dialog(dialog, "ACK").to_bytes())
    world.wait(lambda: callee.agent.requests("ACK"))
    callee.agent.received.clear()
    return dialog, callee.agent.callee_dialog(incoming, ok)


async def _journal(journal_class, directory: Path, reports) -> None:
    async def nobody(_: list[bytes]) -> str:
        return "later"

    journal = journal_class(directory, nobody)
    for report in reports:
        journal.add(report.model_dump_json().encode())
    await journal.close()


def _ways(flow, streams, keys) -> list[dict[str, str]]:
    """The tokens of calls through providers."""
    leg_token = then("edge.providers.leg_token")
    ToProvider, ToPhone = leg_token.ToProvider, leg_token.ToPhone
    plain = ToProvider("t1/voip", flow, 3, "t1", 1_800_000_000, True)
    told = ToProvider("t1/voip", flow, 3, "t1", 1_800_000_000, False, "<sip:a@x>", "sip:b@y")
    whole = ToProvider(
        "t1/voip", streams, 3, "t1", 1_800_000_000, False, "<sip:a@x>", "sip:b@y", "sip:c@z", ("<sip:r;lr>",), 2
    )
    phone = ToPhone("t1/voip", flow, BINDING, "sip:p@10.0.0.9", "t1", 1_800_000_000, True, False)
    back = ToPhone("t1/voip", flow, BINDING, "sip:p@10.0.0.9", "t1", 1_800_000_000, True, True, whole)
    found = [
        {"kind": "way", "is": repr(way), "token": leg_token.seal_way(way, "a@b", keys, "tag")}
        for way in (plain, told, whole, phone, back)
    ]
    found.append(
        {"kind": "contact", "is": repr(("sip:c@z", 2)), "token": leg_token.seal_contact("sip:c@z", 2, "a@b", keys)}
    )
    found.append({"kind": "call-id", "is": repr("a@b"), "token": leg_token.seal_call_id("a@b", keys)})
    return found


def _bindings(items) -> list[dict]:
    return [then("lambdas.repositories.bindings")._item(item).serialize() for item in items]


def _calls(reports) -> list[dict]:
    """The items of the reports of calls."""
    CallItem = then("lambdas.repositories.call_models").CallItem
    saved: list[dict] = []

    class NoUsage:
        def __getattr__(self, name):
            return lambda *arguments: None

    def get(*key, **_):
        raise CallItem.DoesNotExist

    CallItem.save = lambda self, condition=None: saved.append(self.serialize())
    CallItem.get = get
    calls = then("lambdas.repositories.calls").Calls(NoUsage())
    for report in reports:
        if report.kind in ("answered", "failed", "ended"):
            getattr(calls, report.kind)(report)
    return saved


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]))
    else:
        main()
