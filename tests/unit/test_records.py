"""Records as Parquet, by both ways there, and what is asked of them."""

from __future__ import annotations

import gzip
import json
import time

import pytest

from lambdas.cli import tables

NOW = time.time()
CALL = {
    "id": "c1", "tenant": "t1", "call_id": "x@y", "caller": "alice@example.com", "called": "+4420@example.com",
    "account": "alice@example.com", "started": int(NOW) - 100, "ringing": NOW - 99.5, "answered": NOW - 90,
    "ended": NOW - 30, "status": 200, "ended_by": "caller", "reason": "", "providers": ["", "voip"],
    "edges": ["203.0.113.1", "203.0.113.2"], "user_agents": ["Desk 1", ""], "codecs": ["audio PCMA/8000"],
    "transferred_by": "carol@example.com", "media": "relayed", "media_why": "nat",
    "quality": [
        {"side": "called", "packets": 490, "longest_gap": 1.5, "lost": None, "jitter": None, "mos": None},
        {"side": "caller", "packets": 500, "longest_gap": 0.5, "lost": 5, "jitter": 2.5, "mos": 4.2},
    ],
    "legs": [
        {"to": "sip:+4420@voip", "provider": "voip", "edge": "203.0.113.2", "number": "+4420", "status": 200},
        {"to": "bob@example.com", "provider": "", "edge": "203.0.113.1", "number": "", "status": 486},
    ],
}  # fmt: skip
FAILED = {
    **CALL,
    "id": "c2",
    "answered": None,
    "ended": NOW - 95,
    "status": 486,
    "ended_by": "",
    "transferred_by": "",
    "media": "",
    "media_why": "",
    "quality": [],
    "legs": CALL["legs"][1:],
}


def typed(**values):
    """As DynamoDB's JSON has them."""
    kinds = {
        str: lambda one: {"S": one},
        list: lambda one: {"L": [{"S": item} for item in one]},
        set: lambda one: {"SS": sorted(one)},
    }
    return {
        "Item": {
            name: kinds.get(type(value), lambda one: {"N": str(one)})(value)
            for name, value in values.items()
            if value is not None
        }
    }


def items(call, end=None):
    """A call as the table has it."""
    start = call["started"]
    kind = "answered" if call["answered"] else "failed"
    legs = [
        {
            "to": leg["to"],
            "provider": f"t1/{leg['provider']}" if leg["provider"] else "",
            "address": leg["edge"],
            "number": leg["number"],
            "status": leg["status"],
        }
        for leg in call["legs"]
    ]
    names = (
        "call_id",
        "caller",
        "called",
        "account",
        "started",
        "ringing",
        "answered",
        "edges",
        "user_agents",
        "codecs",
        "status",
    )
    fields = {name: call[name] for name in names}
    yield typed(
        pk="t1#2026-11-25", sk=f"{start:010d}#{call['id']}#{kind}", call=call["id"], **fields, legs=json.dumps(legs),
        providers=[f"t1/{one}" if one else "" for one in call["providers"]],
        transferred_by=call["transferred_by"] or None, media="direct" if call["media"] else None,
        media_why="public" if call["media"] else None,
        ended=None if call["answered"] else call["ended"], reason=None if call["answered"] else "", ttl=1,
    )  # fmt: skip
    if call["answered"]:
        yield typed(
            pk="t1#2026-11-25",
            sk=f"{start:010d}#{call['id']}#ended",
            call=call["id"],
            ended=call["ended"],
            ended_by=call["ended_by"],
            reason=call["reason"],
            media=call["media"],
            media_why=call["media_why"],
            quality=json.dumps([{k: v for k, v in one.items() if v is not None} for one in call["quality"]]),
            ttl=1,
        )
        yield typed(pk="t1#2026-11-25", sk=f"{start:010d}#{call['id']}#open", call=call["id"], deadline=5, ttl=1)


def rows(data, query):
    return tables.open_tables(str(data)).sql(query).fetchall()


def test_both_ways_lead_to_the_same(tmp_path):
    assert tables.write("calls", [CALL, FAILED], tmp_path / "api", "2026-11-25") == 2
    with gzip.open(tmp_path / "part.json.gz", "wt") as file:
        for item in (
            *items(CALL),
            *items(FAILED),
            typed(pk="usage#t1", sk="0count#r", in_day=5),
            typed(pk="abuse#premium#a", sk="known#r", known="{}"),
        ):
            file.write(json.dumps(item) + "\n")
    assert tables.convert(str(tmp_path / "*.json.gz"), tmp_path / "export") == {"calls": 2, "events": 0, "attempts": 0}
    for table in ("calls", "legs"):
        api, export = (rows(tmp_path / place, f"FROM {table} ORDER BY ALL") for place in ("api", "export"))
        assert api == export
        assert api
    (first, second) = rows(
        tmp_path / "api",
        "SELECT id, round(seconds), number, provider_out, caller_agent, codecs, transferred_by FROM calls ORDER BY id",
    )
    assert first == ("c1", 60, "+4420", "voip", "Desk 1", ["audio PCMA/8000"], "carol@example.com")
    assert second[:3] == ("c2", 0, "")
    media = rows(
        tmp_path / "api",
        "SELECT media, media_why, caller_packets, caller_gap, caller_lost, caller_jitter, caller_mos, called_packets, "
        "called_gap, called_lost, called_jitter, called_mos FROM calls ORDER BY id",
    )
    assert media == [
        ("relayed", "nat", 500, 0.5, 5, 2.5, 4.2, 490, 1.5, None, None, None), ("", "", *[None] * 10),
    ]  # fmt: skip
    assert rows(tmp_path / "api", 'SELECT place, "to", status FROM legs WHERE id = \'c1\'') == [
        (1, "sip:+4420@voip", 200), (2, "bob@example.com", 486),
    ]  # fmt: skip


def test_events_and_attempts(tmp_path):
    lines = [
        typed(pk="t1#events#2026-11-25", sk="1#a", kind="audit", at=NOW, about="key", call_id="", text="POST"),
        typed(pk="#events#2026-11-25", sk="1#b", kind="abuse", at=NOW, about="192.0.2.1", call_id="", text="banned"),
        typed(pk="abuse#account#a#b@example.com", sk=f"{int(NOW):010d}#r", times=7, others={"192.0.2.1", "192.0.2.2"}),
        typed(pk="abuse#account#a#b@example.com", sk=f"{int(NOW) - 700:010d}#r", times=2, others={"192.0.2.2"}),
        typed(pk="abuse#account#old@example.com", sk=f"{int(NOW) - 90_000:010d}#r", times=99, others={"192.0.2.9"}),
        typed(pk="abuse#source#192.0.2.1", sk=f"{int(NOW):010d}#r", times=5, others={"a#b@example.com"}),
    ]
    (tmp_path / "x.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert tables.convert(str(tmp_path / "x.json"), tmp_path) == {"calls": 0, "events": 2, "attempts": 4}
    assert rows(tmp_path, "SELECT tenant, kind, text FROM events ORDER BY 1") == [
        ("", "abuse", "banned"),
        ("t1", "audit", "POST"),
    ]
    connection = tables.open_tables(str(tmp_path))
    assert tables.top(connection, "failures", 86_400, 6).fetchall() == [("a#b@example.com", 9, 2)]
    assert tables.top(connection, "sources", 86_400, 6).fetchall() == [("192.0.2.1", 5, 1)]


@pytest.mark.parametrize(
    ("by", "found"),
    [
        ("destinations", [("t1", "+44", 1, 1.0, 1)]),
        ("minutes", [("t1", "alice@example.com", 1.0, 1)]),
        ("failed-calls", [("t1", "alice@example.com", 1, 1)]),
    ],
)
def test_who_stands_out(tmp_path, by, found):
    tables.write("calls", [CALL, FAILED], tmp_path, "a")
    old = [{**CALL, "id": f"old{n}", "started": int(NOW) - 90_000} for n in range(5)]
    tables.write("calls", old, tmp_path, "b")
    assert tables.top(tables.open_tables(str(tmp_path)), by, 3600, 3).fetchall() == found


def test_an_empty_day_is_no_mistake(tmp_path):
    assert tables.write("calls", [], tmp_path, "2026-11-25") == 0
    assert rows(tmp_path, "SELECT count(*) FROM calls") == [(0,)]
