"""What an edge and the control plane of before have written is read, and what is written today they would read: tokens
in phones' dialogs, reports in the journal, what is kept on disk, items of bindings and calls. ``write_fixtures`` has
had the code of then write it."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import shutil
import subprocess
import sys

import pytest

from lambdas.contract import CallAnswered, CallEnded, CallFailed, HeartbeatReply, ReportEnvelope
from lambdas.decisions.values import Put, StoredBinding
from lambdas.repositories.bindings import Bindings
from lambdas.repositories.call_models import CallItem
from lambdas.repositories.calls import Calls
from lambdas.repositories.models import BindingItem
from lambdas.repositories.open_calls import OpenCalls
from tests.compat import before
from tests.compat.places import (
    CallReference,
    Flow,
    Journal,
    TokenKeys,
    ToPhone,
    ToProvider,
    open_call_id,
    open_contact,
    open_store,
    open_way,
    records,
    remembered,
    seal_way,
)
from tests.compat.write_fixtures import COMMIT, HERE, INSTANCE, PHONES, STATE_KEY, TENANT
from tests.support.agent import Dialog
from tests.support.world import WALL, World

THEN = HERE / COMMIT
WRITTEN = json.loads((THEN / "written.json").read_text())
LATER = 60.0  # seconds that the edge was away


@pytest.fixture
def keys():
    found = {int(number): base64.b64decode(key) for number, key in WRITTEN["keys"].items()}
    return TokenKeys(found, WRITTEN["current"])


@pytest.fixture
def kept(tmp_path):
    """What is on the disk."""
    shutil.copy(THEN / "kept.sqlite", tmp_path)
    store = open_store(tmp_path / "kept.sqlite")
    yield store
    store.close()


@pytest.fixture
def world(kept):
    """Both edges, one of them started anew from its disk, and no control plane in reach."""
    made = World()
    made.now = WRITTEN["clock"] - WALL + LATER
    made.control.dark = True
    for node in made.nodes.values():
        made.inform(node)
    made.nodes["edge-a"].handle(remembered(kept))
    return made


@pytest.fixture
def phones(world):
    """As they were: they don't know that their edge has been away."""
    made = {user: world.phone(user, edge) for user, edge in PHONES}
    made["bob"].agent.instance = INSTANCE
    return made


# What phones have in their dialogs


@pytest.mark.parametrize("token", WRITTEN["tokens"], ids=lambda token: token["token"][:8])
def test_flow_tokens(token, keys):
    flow, call = Flow(*token["flow"]), CallReference(*token["call"])
    opened = keys.open(token["token"], token["call_id"], flow.address, flow.port)
    assert (opened.flow, opened.binding, opened.call) == (flow, token["binding"], call)
    assert keys.seal(flow, token["binding"], token["call_id"], call) == token["token"]


@pytest.mark.parametrize("way", WRITTEN["ways"], ids=lambda way: way["token"][:8])
def test_tokens_of_calls_through_providers(way, keys):
    if way["kind"] == "contact":
        assert repr(open_contact(way["token"], "a@b", keys)) == way["is"]
    elif way["kind"] == "call-id":
        assert repr(open_call_id(way["token"], keys)) == way["is"]
    else:
        opened = open_way(way["token"], "a@b", keys, "tag")
        assert opened == eval(way["is"], {"ToProvider": ToProvider, "ToPhone": ToPhone, "Flow": Flow})
        assert seal_way(opened, "a@b", keys, "tag") == way["token"]


@pytest.mark.parametrize(("one", "other"), [("alice", "bob"), ("bob", "alice")])
def test_an_answered_call_goes_on(world, phones, one, other):
    """From either side, through an edge that has been upgraded meanwhile: requests in the dialog arrive, and its end."""
    side = Dialog(**WRITTEN["caller" if one == "alice" else "called"])
    for method in ("INVITE", "BYE"):
        request = phones[one].agent.in_dialog(side, method)
        phones[one].send(request.to_bytes())
        got = world.wait(lambda method=method: next(iter(phones[other].agent.requests(method)), None))
        phones[other].send(phones[other].agent.response(got, 200).to_bytes())
        assert world.wait(lambda request=request: phones[one].agent.final(request)).status == 200


# What is on an edge's disk


def test_registered_phones_stay_registered_and_can_be_called(world, phones):
    """In the dark, so that nothing else can have said where they are."""
    alice, carol = phones["alice"], phones["carol"]
    invite = alice.start_call(f"sip:carol@{WRITTEN['domain']}")
    incoming = world.wait(lambda: next(iter(carol.agent.requests("INVITE")), None))
    carol.send(carol.agent.response(incoming, 200).to_bytes())
    assert world.wait(lambda: alice.agent.final(invite)).status == 200
    assert alice.register() == carol.register() == 200
    assert len(alice.agent.responses("REGISTER")[-1].values("contact")) == 1


def test_what_is_kept_today_is_kept_as_it_was(world, kept):
    """Records, so that an edge of before goes on with them after a roll-back."""
    before = {aor: json.loads(record) for aor, record in kept.load("record")}
    now = {aor: json.loads(record) for aor, record in records(world.nodes["edge-a"].core, world.now).items()}
    assert before.keys() == now.keys() == {f"alice@{WRITTEN['domain']}", f"carol@{WRITTEN['domain']}"}
    for aor, record in before.items():
        away = now[aor]["at"] - record["at"]
        assert LATER <= away < LATER + 2
        for binding in record["bindings"]:
            binding["durable"] = pytest.approx(binding["durable"] - away)
        grant = now[aor]["grant"]
        grant = {name: grant[name] for name in record["grant"]}  # edges of before leave alone what they don't know
        assert now[aor] | {"grant": grant} == record | {"at": now[aor]["at"]}


def test_routes_and_news_that_were_kept(world, kept):
    assert world.nodes["edge-a"].core.gauges()["kept_routes"] == 1
    ((_, news),) = kept.load("news")
    reply = HeartbeatReply.model_validate(json.loads(news)["reply"])
    then = json.loads(news)["reply"]
    assert _has(reply.model_dump(mode="json"), then)


def _has(now, then) -> bool:
    """Whether all that stood there then is there now."""
    if isinstance(then, dict):
        return all(name in now and _has(now[name], value) for name, value in then.items())
    if isinstance(then, list):
        return len(now) == len(then) and all(map(_has, now, then))
    return now == then


def deliver_all(directory) -> list[bytes]:
    """What an edge that starts there delivers."""
    delivered: list[bytes] = []

    async def run() -> None:
        done = asyncio.Event()

        async def deliver(some: list[bytes]) -> str:
            delivered.extend(some)
            done.set()
            return "taken"

        journal = Journal(directory, STATE_KEY, deliver)
        task = asyncio.create_task(journal.run())
        await asyncio.wait_for(done.wait(), 5)
        task.cancel()
        assert journal.counters["unreadable"] == 0
        await journal.close()

    asyncio.run(run())
    return delivered


def test_reports_in_the_journal_are_delivered(tmp_path):
    shutil.copytree(THEN / "journal", tmp_path / "journal")
    delivered = deliver_all(tmp_path / "journal")
    assert [json.loads(report) for report in delivered] == [json.loads(report) for report in journalled()]
    found = [type(report) for report in reports(delivered)]
    assert found == [CallAnswered, CallFailed, CallAnswered, CallEnded]


def test_reports_that_an_edge_of_before_cannot_read_outlast_it(tmp_path):
    """After a roll-back it finds no segment of its own, begins one, and removes nothing else; both are delivered once
    the edge is upgraded again."""

    async def add() -> None:
        async def nobody(_: list[bytes]) -> str:
            return "later"

        journal = Journal(tmp_path / "journal", STATE_KEY, nobody)
        for report in journalled():
            journal.add(report)
        await journal.close()

    asyncio.run(add())
    then = before.checkout(tmp_path / "then")
    command = [sys.executable, "-c", _ROLLED_BACK, str(tmp_path / "journal"), '{"then": 1}']
    subprocess.run(command, env={**os.environ, **before.environment(then)}, check=True)
    delivered = deliver_all(tmp_path / "journal")
    assert sorted(delivered) == sorted([*journalled(), b'{"then": 1}'])


_ROLLED_BACK = """
import sys
from pathlib import Path
from edge.control.journal import Segments
segments = Segments(Path(sys.argv[1]))
assert segments.left == [] and segments.unreadable == 0
segments.append(sys.argv[2].encode())
segments.sync()
segments.roll(segments.number)
segments.close()
"""


def journalled() -> list[bytes]:
    """The reports in the journal's one segment: a checksum and JSON on each line."""
    (segment,) = (THEN / "journal").glob("*.journal")
    return [line.partition(b" ")[2] for line in segment.read_bytes().splitlines()]


def reports(found: list[bytes]):
    return ReportEnvelope.model_validate_json(b'{"version":6,"reports":[%b]}' % b",".join(found)).reports


# What is in the tables


def test_items_of_bindings(monkeypatch):
    """Read and written as they were."""
    items = WRITTEN["bindings"]
    written = []
    monkeypatch.setattr(BindingItem, "query", lambda aor, **_: [BindingItem.from_raw_data(item) for item in items])
    monkeypatch.setattr(BindingItem, "save", lambda item, condition: written.append(item.serialize()))
    found = Bindings().of("any")
    assert [(item.aor, item.address, item.q, item.reg_id, item.tenant, item.removed) for item in found] == [
        (f"alice@{WRITTEN['domain']}", "203.0.113.11", 1000, 0, TENANT, False),
        (f"bob@{WRITTEN['domain']}", "203.0.113.12", 1000, 1, TENANT, False),
        (f"carol@{WRITTEN['domain']}", "203.0.113.11", 1000, 0, TENANT, False),
    ]
    for item in found:
        assert Bindings().write([Put(item, None)])
    assert written == items


def test_items_of_bindings_that_are_written_today(tmp_path, monkeypatch):
    """A control plane of before reads them after a roll-back, though they say more."""
    (item, *_) = WRITTEN["bindings"]
    monkeypatch.setattr(BindingItem, "query", lambda aor, **_: [BindingItem.from_raw_data(item)])
    written = []
    monkeypatch.setattr(BindingItem, "save", lambda item, condition: written.append(item.serialize()))
    (found,) = Bindings().of("any")
    today = found.model_copy(update={"path": ["<sip:192.0.2.44;lr>"], "doubted_at": 1000})
    assert Bindings().write([Put(today, None)])
    then = before.checkout(tmp_path / "then")
    command = [sys.executable, "-c", _READ, json.dumps(written[0])]
    ran = subprocess.run(
        command, env={**os.environ, **before.environment(then)}, check=True, capture_output=True, text=True
    )
    assert StoredBinding.model_validate_json(ran.stdout) == found


_READ = """
import dataclasses, json, sys
from lambdas.repositories.bindings import Bindings
from lambdas.repositories.models import BindingItem
BindingItem.query = lambda aor, **_: [BindingItem.from_raw_data(json.loads(sys.argv[1]))]
print(json.dumps(dataclasses.asdict(Bindings().of("any")[0])))
"""


class NobodyCounts:
    """In place of Usage."""

    def release(self, *_: object) -> None:
        pass


def test_items_of_calls(monkeypatch):
    """The reports of then make the same items, and those are read."""
    items = WRITTEN["calls"]
    saved = []

    monkeypatch.setattr(CallItem, "save", lambda item, condition=None: saved.append(item.serialize()))
    monkeypatch.setattr("lambdas.repositories.calls.read", lambda keys: {})
    monkeypatch.setattr(OpenCalls, "remove_unless_more_is_due", lambda self, call: None)
    calls = Calls(NobodyCounts())
    for report in reports(journalled()):
        match report:
            case CallAnswered():
                calls.answered(report)
            case CallFailed():
                calls.failed(report)
            case CallEnded():
                calls.ended(report)
    assert saved == items

    def query(*_: object, **__: bool) -> list[CallItem]:
        return [CallItem.from_raw_data(item) for item in sorted(items, key=lambda item: item["sk"]["S"])]

    monkeypatch.setattr(CallItem, "query", query)
    began = datetime.datetime.fromtimestamp(WRITTEN["clock"], datetime.UTC).date()
    found, _ = calls.of(TENANT, began, 10)
    # In the order of their names: all began within one second.
    assert sorted((call.called.partition("@")[0], call.status, call.ended is not None) for call in found) == [
        ("bob", 200, False),
        ("bob", 486, True),
        ("carol", 200, True),
    ]
    assert all(call.legs[0].to == call.called and call.caller == call.account for call in found)
