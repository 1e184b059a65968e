"""The command line against a real API, as a person types it."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.fleet import development_client
from scripts.processes import wait_for
from tests.integration.test_plan_scripts import phones
from tests.integration.test_provisioning import tenant
from tests.support.socket_phone import call, in_dialog

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def cli(fleet, tenant, tmp_path):
    """Runs a command with a tenant's key; its output."""
    _, key, _ = tenant
    environment = {
        **os.environ,
        "SIPWIZARD_API": fleet.api_url,
        "SIPWIZARD_KEY": key,
        "COLUMNS": "200",
        "PYTHONPATH": str(ROOT),
    }

    def run(*words, fails=False, **more):
        done = subprocess.run(
            [sys.executable, "-m", "lambdas.cli", *words],
            env={**environment, **more}, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    return run


def test_the_daily_jobs(cli, tenant, tmp_path):
    _, _, domain = tenant
    made = json.loads(cli("--json", "account", "add", f"alice@{domain}", "--display-name", "Alice"))
    assert (made["aor"], len(made["password"]) >= 16) == (f"alice@{domain}", True)
    assert f"alice@{domain}" in cli("account", "list")
    cli("account", "set", f"alice@{domain}", "--no-enabled", "--do-not-disturb")
    shown = json.loads(cli("--json", "account", "show", f"alice@{domain}"))
    assert (shown["enabled"], shown["do_not_disturb"], shown["phones"]) == (False, True, [])
    (tmp_path / "night.yaml").write_text(
        "rules:\n  - {name: closed, reject: {status: 480}}\nexamples:\n"
        "  - {caller: +44, called: x, at: 2026-03-02T12:00:00Z, status: 480}\n"
    )
    assert "published" in cli("plan", "publish", "night", "night.yaml", "--note", 'the "first"')
    assert "480" in cli("plan", "try", "night", "+44", f"alice@{domain}")
    key = json.loads(cli("--json", "key", "add", "a reader", "--role", "read-only"))
    assert "This API key may only read" in cli(
        "account", "remove", f"alice@{domain}", fails=True, SIPWIZARD_KEY=key["key"]
    )
    cli("account", "remove", f"alice@{domain}")
    assert "none" in cli("account", "list")
    trail = cli("events", "--kind", "audit")
    assert f"DELETE /v1/accounts/alice@{domain}" in trail
    assert "a reader" in cli("key", "list")


def test_import_and_export(cli, tenant, tmp_path):
    _, _, domain = tenant
    lines = "".join(f"user{number},{domain}\n" for number in range(12))
    (tmp_path / "people.csv").write_text(f"username,domain\n{lines}")
    rows = list(csv.DictReader(io.StringIO(cli("account", "import", "people.csv"))))
    assert [row["aor"] for row in rows] == [f"user{number}@{domain}" for number in range(12)]
    assert all(row["password"] for row in rows)
    assert len(list(csv.DictReader(io.StringIO(cli("account", "export"))))) == 12
    error = cli("account", "import", "people.csv", fails=True)
    assert "accounts 1 to 12 weren't imported" in error
    assert f"line 2, username: user0@{domain} exists already" in error


def test_mistakes_say_what_to_do(cli, tmp_path):
    assert "There is no account" in cli("account", "show", "nobody@example.org", fails=True)
    assert "can't be had" in cli("account", "list", fails=True, SIPWIZARD_API="http://127.0.0.1:9")
    assert "SIPWIZARD_API" in cli("account", "list", fails=True, SIPWIZARD_API="", SIPWIZARD_KEY="")
    assert "Send a valid API key" in cli("account", "list", fails=True, SIPWIZARD_KEY="sw_a_b")


def test_domains(cli, fleet, tenant):
    _, _, domain = tenant
    owner = fleet.api("GET", f"/v1/domains/{domain}")["tenant"]
    admin = {"SIPWIZARD_KEY": fleet.key}
    made = json.loads(
        cli("--json", "--tenant", owner, "domain", "add", f"a.{domain}", "--alias", f"b.{domain}", **admin)
    )
    assert (made["aliases"], made["default"], made["tenant"]) == ([f"b.{domain}"], False, owner)
    assert f"a.{domain}" in cli("domain", "list")
    assert "make a domain the default one" in cli("domain", "add", f"c.{domain}", "--default", fails=True)


def test_following_calls(fleet, tmp_path):
    owner = fleet.api("GET", "/v1/accounts/alice@sipwizard.test")["tenant"]
    environment = {
        **os.environ, "SIPWIZARD_API": fleet.api_url, "SIPWIZARD_KEY": fleet.key, "SIPWIZARD_TENANT": owner,
        "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    output = tmp_path / "calls"
    with output.open("w") as file, phones(fleet, "alice", "bob") as (alice, bob):
        command = [sys.executable, "-m", "lambdas.cli", "--json", "calls", "--follow"]
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=file)
        try:
            call(alice, bob, "sip:bob@sipwizard.test")
            found = wait_for(
                "the call to be shown",
                lambda: [
                    line
                    for line in output.read_text().splitlines()
                    if "bob@sipwizard.test" in line and '"ended": null' in line
                ],
                15,
            )
            assert json.loads(found[-1])["caller"] == "alice@sipwizard.test"
        finally:
            process.terminate()
            process.wait(10)


def test_records_and_who_stands_out(cli, fleet, tmp_path):
    owner = fleet.api("GET", "/v1/accounts/alice@sipwizard.test")["tenant"]
    admin = {"SIPWIZARD_KEY": fleet.key, "SIPWIZARD_TENANT": owner}
    with phones(fleet, "alice", "bob") as (alice, bob):
        dialog, _ = call(alice, bob, "sip:bob@sipwizard.test")
        in_dialog(alice, dialog, "BYE", bob)
        alice.agent.password = "wrong"
        invite = alice.invite("sip:bob@sipwizard.test")
        assert alice.wait(lambda: alice.agent.final(invite)).status == 403
        alice.agent.password = fleet.accounts["alice"].password
    call_id = dialog.call_id
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    wait_for(
        "the record", lambda: any(one["call_id"] == call_id and one["ended"] for one in fleet.calls(owner, today)), 10
    )
    said = cli("records", "fetch", "--since", today, "--attempts", **admin)
    assert "are in records" in said.replace("\n", " ")
    assert json.loads(cli("--json", "sql", f"SELECT caller, ended_by FROM calls WHERE call_id = '{call_id}'")) == [
        {"caller": "alice@sipwizard.test", "ended_by": "caller"}
    ]
    assert "audit" in cli("sql", "SELECT kind, count(*) FROM events GROUP BY 1")
    top = json.loads(cli("--json", "abuse", "top", "--by", "failures"))
    assert [one["failures"] >= 1 for one in top if one["account"] == "alice@sipwizard.test"] == [True]
    # The same out of the table itself.
    pages = development_client("dynamodb", fleet.endpoint).get_paginator("scan").paginate(TableName="sipwizard-calls")
    with (tmp_path / "export.json").open("w") as file:
        for page in pages:
            for item in page["Items"]:
                file.write(json.dumps({"Item": item}) + "\n")
    cli("records", "convert", "export.json", "--data", "all")
    query = f"SELECT id, caller, called, started, ended, seconds, edges FROM (SELECT *, [caller_edge, called_edge] AS edges FROM calls) WHERE tenant = '{owner}' AND ended IS NOT NULL ORDER BY ALL"
    fetched, exported = (json.loads(cli("--json", "sql", query, "--data", place)) for place in ("records", "all"))
    assert [one for one in exported if one in fetched] == fetched
    assert fetched
    assert "isn't a day" in cli("records", "fetch", "--since", "yesterday", fails=True)
    assert "There are no records in nowhere" in cli("sql", "FROM calls", "--data", "nowhere", fails=True)
    assert "--by is one of" in cli("abuse", "top", "--by", "x", fails=True)
