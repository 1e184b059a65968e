"""The command line against a real API, as a person types it."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.authority import DevelopmentAuthority
from scripts.fleet_parts import development_client
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
        "PYTHONPATH": str(ROOT),
    }

    def run(*words, fails=False, stdin=None, **more):
        done = subprocess.run(
            [sys.executable, "-m", "lambdas.cli", *words], input=stdin,
            env={**environment, **more}, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        run.shown = done.stdout
        return done.stderr if fails else done.stdout

    return run


def test_the_daily_jobs(cli, tenant, tmp_path):
    _, _, domain = tenant
    made = json.loads(cli("--json", "account", "add", f"alice@{domain}", "--display-name", "Alice"))
    assert (made["aor"], len(made["password"]) >= 16) == (f"alice@{domain}", True)
    assert f"alice@{domain}" in cli("account", "list")
    cli("account", "set", f"alice@{domain}", "--no-enabled", "--do-not-disturb", "--digest", "both")
    shown = json.loads(cli("--json", "account", "show", f"alice@{domain}"))
    assert (shown["enabled"], shown["do_not_disturb"], shown["digest"], shown["phones"]) == (False, True, "both", [])
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
    assert "none" in cli("events", "--kind", "abuse")
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
    exported = cli("account", "export", "--json")
    for number in range(12):
        cli("account", "remove", f"user{number}@{domain}")
    (tmp_path / "people.json").write_text(exported)
    made = json.loads(cli("account", "import", "people.json", "--json"))
    assert [one["aor"] for one in made] == [one["username"] + "@" + domain for one in json.loads(exported)]
    assert f"more@{domain}" in cli("account", "import", "-", stdin=f"username,domain\nmore,{domain}\n")
    for text in ("", "username,domain\n", "[]"):
        assert "There is nothing to import" in cli("account", "import", "-", stdin=text, fails=True)
    assert "or JSON" in cli("account", "import", "-", stdin="[{", fails=True)
    (tmp_path / "latin.csv").write_bytes("username,domain\nzoë,x".encode("latin-1"))
    assert "isn't CSV in UTF-8" in cli("account", "import", "latin.csv", fails=True)


def test_an_import_that_fails_in_its_second_part_shows_the_passwords_of_the_first(cli, tenant):
    _, _, domain = tenant
    lines = [f"p{number},{domain}" for number in range(1000)] + [f"p0,{domain}"]
    text = "\n".join(["username,domain", *lines]) + "\n"
    done = cli("account", "import", "-", stdin=text, fails=True)
    assert "accounts 1001 to 1001 weren't imported" in done
    assert f"line 1002, username: p0@{domain} exists already" in done  # the file's own line
    assert "go on with --skip 1000" in done
    assert cli.shown.count("\n") == 1001
    mended = text.replace(f"p0,{domain}\n", f"p-last,{domain}\n").replace(f"p-last,{domain}\n", f"p0,{domain}\n", 1)
    assert cli("account", "import", "-", "--skip", "1000", stdin=mended).count("\n") == 2
    assert len(list(csv.DictReader(io.StringIO(cli("account", "export"))))) == 1001
    assert len(json.loads(cli("account", "list", "--prefix", "p99", "--json"))) == 11


def test_limits_suspensions_and_who_is_banned(cli, fleet, tenant):
    owner, _, domain = tenant
    admin = {"SIPWIZARD_KEY": fleet.client.key}
    cli("account", "add", f"alice@{domain}")
    cli("tenant", "set", owner, "--country", "GB", "--international", "--no-premium", **admin)
    cli("account", "limit", f"alice@{domain}", "concurrent_calls=2", "blocked_prefixes=+449,+44870")
    shown = json.loads(cli("account", "limit", f"alice@{domain}", "daily_spend=1.5", "concurrent_calls=", "--json"))
    limits = {name: value for name, value in shown["limits"].items() if value is not None}
    assert limits == {"blocked_prefixes": ["+449", "+44870"], "daily_spend": 1.5}
    assert "concurrent_calls=2" in cli("account", "limit", f"alice@{domain}", "concurrent_calls", fails=True)
    assert "limits.x" in cli("account", "limit", f"alice@{domain}", "x=1", fails=True)
    assert "unpaid" in cli("account", "suspend", f"alice@{domain}", "unpaid")
    assert "unpaid" not in cli("account", "lift", f"alice@{domain}")
    cli("tenant", "limit", owner, "calls_per_day=9", **admin)
    cli("tenant", "limit", owner, "registrations=3", "--each")
    found = json.loads(cli("tenant", "show", owner, "--json"))
    assert (found["limits"]["calls_per_day"], found["account_limits"]["registrations"]) == (9, 3)
    assert found["usage"]["today"] == 0
    network = f"198.51.100.{secrets.randbelow(200)}"
    cli("ban", "add", network, "--reason", "a test", **admin)
    assert network in cli("ban", "list", **admin)
    cli("ban", "lift", network, **admin)
    assert network not in cli("ban", "list", **admin)


def test_which_way_media_take(cli, fleet, tenant):
    owner, _, domain = tenant
    admin = {"SIPWIZARD_KEY": fleet.client.key}
    cli("tenant", "set", owner, "--media", "relay", "--site", "head-office")
    assert json.loads(cli("tenant", "show", owner, "--json"))["site"] == "head-office"
    made = json.loads(cli("account", "add", f"alice@{domain}", "--media", "direct", "--json"))
    assert (made["media"], made["site"]) == ("direct", "")
    shown = json.loads(cli("account", "set", f"alice@{domain}", "--media", "tenant", "--site", "home", "--json"))
    assert (shown["media"], shown["site"]) == ("tenant", "home")
    cli("account", "limit", f"alice@{domain}", "relayed_calls=2")
    row = next(csv.DictReader(io.StringIO(cli("account", "export"))))
    assert (row["media"], row["site"]) == ("tenant", "home")
    cli("provider", "add", "voip", "sip.example.net", "44", "--password", "x", "--media", "direct")
    assert json.loads(cli("provider", "set", "voip", "--media", "auto", "--json"))["media"] == "auto"
    network = f"198.18.{secrets.randbelow(256)}.0/24"
    cli("network", "add", network, "--note", "a test", **admin)
    assert network in cli("network", "list", **admin)
    cli("network", "remove", network, **admin)
    assert network not in cli("network", "list", **admin)


def test_routes_hooks_and_providers(cli, fleet, tenant, tmp_path):
    provider = ["--password", "x", "--caller-id", "+442079460000"]
    for name in ("one", "two"):
        cli("provider", "add", name, "sip.example.net", "44", *provider)
    cli("route", "set", "", "one", "two")
    cli("route", "set", "+44", "two")
    assert json.loads(cli("route", "list", "--json")) == [
        {"prefix": "", "providers": ["one", "two"]}, {"prefix": "+44", "providers": ["two"]},
    ]  # fmt: skip
    cli("route", "remove", "")
    assert json.loads(cli("route", "list", "--json")) == [{"prefix": "+44", "providers": ["two"]}]
    assert "--tenant" in cli("route", "list", fails=True, SIPWIZARD_KEY=fleet.client.key)
    assert not json.loads(cli("provider", "set", "one", "--no-enabled", "--json"))["enabled"]
    assert "Say what to change" in cli("provider", "set", "one", fails=True)
    ca = DevelopmentAuthority(tmp_path).path
    shown = json.loads(cli("provider", "set", "one", "--transport", "tls", "--ca", str(ca), "--json"))
    assert (shown["transport"], shown["ca"]) == ("tls", ca.read_text())
    (tmp_path / "ca.der").write_bytes(b"\x30\x82\xff")
    assert "isn't PEM" in cli("provider", "set", "one", "--ca", str(tmp_path / "ca.der"), fails=True)
    made = json.loads(cli("hook", "add", "crm", "https://1.0.0.0/hook", "--event", "call.ended", "--json"))
    assert made["secret"].startswith("whsec_")
    assert "call.ended" in cli("hook", "list")
    assert "on its way" in cli("hook", "ping", "crm")
    cli("hook", "remove", "crm")


def test_what_strangers_wrote_steers_no_terminal(cli, tenant):
    """Text is shown as it is: no markup, no emoji, no escape sequences."""
    _, _, domain = tenant
    name = "Zoë [/b] [b]x[/b] [link=https://x.example]y :smile:"
    cli("account", "add", f"eve@{domain}", "--display-name", name)
    assert name in cli("account", "list")
    assert name in cli("account", "show", f"eve@{domain}")
    cli("account", "suspend", f"eve@{domain}", 'unpaid "bill" [/b]')
    assert 'unpaid "bill" [/b]' in cli("events", "--kind", "abuse")
    assert "\\x1b]0;x\\x07[/b]" in cli("sql", "SELECT chr(27) || ']0;x' || chr(7) || '[/b]' AS a")


def test_nothing_is_cut_off_on_its_way_to_another_program(cli, tenant):
    _, _, domain = tenant
    made = cli("key", "add", "a note", COLUMNS="40")
    (key,) = [line.split()[1] for line in made.splitlines() if line.startswith("key ")]
    assert key in made
    assert len(key) > 80
    assert cli("account", "list", SIPWIZARD_KEY=key)
    cli("account", "add", f"alice@{domain}", "--display-name", "x" * 100)
    assert "x" * 100 in cli("account", "list")


def test_the_name_of_the_program(cli):
    assert cli("--version").startswith("sipwizard 0.")
    assert "sipwizard [OPTIONS] COMMAND" in cli("--help")
    script = cli("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "complete -o default -F _sipwizard_completion sipwizard" in script
    done = subprocess.run(
        [ROOT / "scripts" / "sipwizard", "--version"], cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("sipwizard 0."), done.stderr


def test_mistakes_say_what_to_do(cli, tmp_path):
    assert "There is no account" in cli("account", "show", "nobody@example.org", fails=True)
    assert "can't be had" in cli("account", "list", fails=True, SIPWIZARD_API="http://127.0.0.1:9")
    assert "SIPWIZARD_API" in cli("account", "list", fails=True, SIPWIZARD_API="", SIPWIZARD_KEY="")
    assert "Send a valid API key" in cli("account", "list", fails=True, SIPWIZARD_KEY="sw_a_b")
    assert "copy it again" in cli("account", "list", fails=True, SIPWIZARD_KEY="sw_a\nb")
    assert "isn't a URL" in cli("account", "list", fails=True, SIPWIZARD_API="nonsense")
    assert "refused" in cli("account", "list", fails=True, SIPWIZARD_API="http://127.0.0.1:9")
    assert "isn't like alice@example.com" in cli("account", "add", "noat", fails=True)
    assert "isn't the name of anything" in cli("account", "show", "", fails=True)
    assert "Say what to change" in cli("account", "set", "a@b.example", fails=True)
    assert "username: " in cli("account", "add", f"{'x' * 65}@b.example", fails=True)
    assert "leave --day out" in cli("calls", "--follow", "--day", "2026-01-01", fails=True)
    assert "There are no records" in cli("abuse", "top", fails=True)


def test_domains(cli, fleet, tenant):
    _, _, domain = tenant
    owner = fleet.client.api("GET", f"/v1/domains/{domain}")["tenant"]
    admin = {"SIPWIZARD_KEY": fleet.client.key}
    made = json.loads(
        cli("--json", "--tenant", owner, "domain", "add", f"a.{domain}", "--alias", f"b.{domain}", **admin)
    )
    assert (made["aliases"], made["default"], made["tenant"]) == ([f"b.{domain}"], False, owner)
    assert f"a.{domain}" in cli("domain", "list")
    assert "make a domain the default one" in cli("domain", "add", f"c.{domain}", "--default", fails=True)


def test_following_calls(fleet, tmp_path):
    owner = fleet.client.api("GET", "/v1/accounts/alice@sipwizard.test")["tenant"]
    environment = {
        **os.environ, "SIPWIZARD_API": fleet.api_url, "SIPWIZARD_KEY": fleet.client.key, "SIPWIZARD_TENANT": owner,
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


def test_following_goes_on_after_a_failure(tmp_path):
    environment = {**os.environ, "SIPWIZARD_API": "http://127.0.0.1:9", "SIPWIZARD_KEY": "x", "PYTHONPATH": str(ROOT)}
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        command = [sys.executable, "-u", "-m", "lambdas.cli", "calls", "--follow"]
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=file)
        try:
            wait_for("the failure to be told", lambda: "trying again" in errors.read_text(), 15)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2.5)  # one more look
            assert errors.read_text().count("trying again") == 1
        finally:
            process.terminate()
            process.wait(10)


def test_records_and_who_stands_out(cli, fleet, tmp_path):
    owner = fleet.client.api("GET", "/v1/accounts/alice@sipwizard.test")["tenant"]
    admin = {"SIPWIZARD_KEY": fleet.client.key, "SIPWIZARD_TENANT": owner}
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
        "the record",
        lambda: any(one["call_id"] == call_id and one["ended"] for one in fleet.client.calls(owner, today)),
        10,
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
