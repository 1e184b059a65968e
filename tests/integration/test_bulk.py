"""Accounts by the hundred: all of an import or nothing of it, and out again."""

from __future__ import annotations

import csv
import datetime
import http.client
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts.fleet_parts import DEVELOPMENT_CREDENTIALS, SIP, Host, PhoneAccount
from scripts.processes import wait_for
from tests.integration.test_provisioning import ask, tenant
from tests.support.socket_phone import SocketPhone

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture

ROOT = Path(__file__).parent.parent.parent


def send(fleet, key, method, path, body=None, kind="text/csv"):
    return send_for_headers(fleet, key, method, path, body, kind)[:2]


def send_for_headers(fleet, key, method, path, body=None, kind="text/csv"):
    parts = urlsplit(fleet.api_url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {key}", "Content-Type": kind})
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def test_in_and_out_again(fleet, tenant):
    owner, key, domain = tenant
    names = [f"user{number:03d}" for number in range(120)]
    text = "username,domain,password,display_name\n" + "".join(
        f'{name},{domain},{"chosen-pass-1" if name == "user000" else ""},"{name}, ""desk"""\n' for name in names
    )
    status, answer = send(fleet, key, "POST", "/v1/accounts:import", text)
    assert status == 201, answer
    made = json.loads(answer)
    assert made["created"] == 120
    assert [one["aor"] for one in made["accounts"]] == [f"{name}@{domain}" for name in names]
    assert made["accounts"][0]["password"] is None
    assert len({one["password"] for one in made["accounts"]}) == 120
    assert ask(fleet, key, "GET", f"/v1/accounts/user119@{domain}")[1]["display_name"] == 'user119, "desk"'
    change = {"enabled": False, "display_name": "=cmd()", "digest": "sha256"}
    ask(fleet, key, "PATCH", f"/v1/accounts/user001@{domain}", change)
    status, text = send(fleet, key, "GET", "/v1/accounts:export")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (status, len(rows), rows[1]["display_name"], rows[1]["enabled"]) == (200, 120, "'=cmd()", "False")
    exported = json.loads(send(fleet, key, "GET", "/v1/accounts:export?format=json")[1])
    assert [one["username"] for one in exported] == names
    assert [rows[1]["digest"], *(one["digest"] for one in exported[:2])] == ["sha256", "auto", "sha256"]
    pages, cursor = [], ""
    while cursor is not None:  # an answer of Lambda's has its size
        path = f"/v1/accounts:export?format=json&limit=50{cursor and f'&cursor={cursor}'}"
        _, page, headers = send_for_headers(fleet, key, "GET", path)
        pages.append(json.loads(page))
        cursor = headers["Next-Cursor"]
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [one for page in pages for one in page] == exported
    day = datetime.datetime.now(datetime.UTC).date()
    noted = fleet.client.api("GET", f"/v1/events?tenant={owner}&day={day}&kind=audit&limit=200")["items"]
    assert "POST /v1/accounts:import: 120 accounts" in [one["text"] for one in noted]
    # What came out goes in again, in either form.
    for number, (body, kind) in enumerate(((text, "text/csv"), (json.dumps(exported), "application/json"))):
        elsewhere = f"again-{number}.{domain}"
        fleet.client.api("POST", "/v1/domains", {"tenant": owner, "name": elsewhere})
        assert send(fleet, key, "POST", "/v1/accounts:import", body.replace(domain, elsewhere), kind)[0] == 201
        found = json.loads(send(fleet, key, "GET", "/v1/accounts:export?format=json")[1])
        assert [one for one in found if one["domain"] == elsewhere] == [
            {**one, "domain": elsewhere} for one in exported
        ]


@pytest.mark.parametrize("name", ["+cmd|' /C calc'!A0", "=1", "-1", "@x", "'=1", "'quoted'", "''"])
def test_a_spreadsheet_takes_no_name_for_a_formula(fleet, tenant, name):
    _, key, domain = tenant
    body = {"username": "a", "domain": domain, "display_name": name, "caller_id": "+442079460000"}
    assert ask(fleet, key, "POST", "/v1/accounts", body)[0] == 201
    text = send(fleet, key, "GET", "/v1/accounts:export")[1]
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["display_name"], row["caller_id"]) == (f"'{name}", "+442079460000")
    ask(fleet, key, "DELETE", f"/v1/accounts/a@{domain}")
    assert send(fleet, key, "POST", "/v1/accounts:import", text)[0] == 201
    assert ask(fleet, key, "GET", f"/v1/accounts/a@{domain}")[1]["display_name"] == name


def test_a_password_is_taken_as_it_is(fleet, tenant):
    _, key, domain = tenant
    text = f"username,domain,password,display_name\na,{domain},'=never tried first,'=name\n"
    assert send(fleet, key, "POST", "/v1/accounts:import", text)[0] == 201
    account = PhoneAccount(f"a@{domain}", "a", "'=never tried first")
    edge = fleet.edges[0]
    with SocketPhone(account, domain, Host(edge.host.address), (edge.address, SIP)) as phone:
        wait_for("the domain to be known", lambda: phone.register() == 200, 10)
    assert ask(fleet, key, "GET", f"/v1/accounts/a@{domain}")[1]["display_name"] == "=name"


def test_a_name_is_one_line(fleet, tenant):
    _, key, domain = tenant
    body = {"username": "a", "domain": domain, "display_name": "a\r\nX: y"}
    assert ask(fleet, key, "POST", "/v1/accounts", body)[0] == 422
    assert ask(fleet, key, "POST", "/v1/accounts", {"username": "a", "domain": domain})[0] == 201
    assert ask(fleet, key, "PATCH", f"/v1/accounts/a@{domain}", {"display_name": "a\tb"})[0] == 422


def test_every_mistake_is_named_by_its_line_and_nothing_is_done(fleet, tenant):
    _, key, domain = tenant
    ask(fleet, key, "POST", "/v1/accounts", {"username": "taken", "domain": domain})
    text = (
        f"username,domain,password,plan\ngood,{domain},,\nb ad,{domain},,\nshort,{domain},x,\n"
        f"taken,{domain},,\nalien,example.org,,\ngood,{domain},,\nplanned,{domain},,nosuch\nlong,{domain},,,,\n"
    )
    status, answer = send(fleet, key, "POST", "/v1/accounts:import", text)
    problem = json.loads(answer)
    assert status == 422
    assert [(one["line"], one["field"]) for one in problem["errors"]] == [
        ("3", "username"), ("4", "password"), ("5", "username"), ("6", "domain"), ("7", "username"), ("8", "plan"), ("9", "(a column without a name)"),
    ]  # fmt: skip
    assert "stands in line 2 already" in problem["errors"][4]["fault"]
    assert [one["username"] for one in ask(fleet, key, "GET", "/v1/accounts")[1]["items"]] == ["taken"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        ("name,domain\nx,y\n", "text/csv", 422, "not name"),
        ("", "text/csv", 422, "name columns"),
        ("username,domain\n", "text/csv", 422, "nothing to import"),
        (b"username,domain\n\xff,x\n", "text/csv", 400, "UTF-8"),
        ('username,domain\n"x,y\n', "text/csv", 400, "CSV"),
        ("{", "application/json", 400, "JSON"),
        ("{}", "application/json", 422, "list"),
        ("[5]", "application/json", 422, "mistakes"),
        ("[]", "application/json", 422, "nothing to import"),
        ("x", "text/plain", 415, "text/csv"),
        ("username,domain\n" + "a,b.c\n" * 1001, "text/csv", 413, "1000"),
        ("x" * 1_000_001, "text/csv", 413, "longer"),
    ],
)
def test_what_cant_be_imported_says_why(fleet, tenant, body, kind, status, says):
    _, key, _ = tenant
    got, answer = send(fleet, key, "POST", "/v1/accounts:import", body, kind)
    assert (got, says in json.loads(answer)["detail"]) == (status, True), answer


def test_accounts_of_another_tenants_domain_arent_made(fleet, tenant):
    _, _, domain = tenant
    other = fleet.client.api("POST", "/v1/tenants", {"name": "Other"})["id"]
    theirs = fleet.client.api("POST", "/v1/keys", {"tenant": other})["key"]
    status, answer = send(fleet, theirs, "POST", "/v1/accounts:import", f"username,domain\nmallory,{domain}\n")
    assert (status, json.loads(answer)["errors"][0]["field"]) == (422, "domain")


_RACE = """
import sys
from lambdas.repositories.accounts import Accounts
from lambdas.repositories.directory import Directory, Taken
from lambdas.repositories.items import account_item
from lambdas.repositories.models import AccountItem, DomainItem

directory, (owner, name) = Directory(), sys.argv[1:]
accounts = Accounts(directory)
domain = directory.get(DomainItem, name)
names = [f"u{number:03d}@{name}" for number in range(150)]
items = [account_item(aor, owner, {"ha1_md5": "0", "ha1_sha256": "0"}, "") for aor in names]
accounts.create(account_item(names[120], owner, {"ha1_md5": "0", "ha1_sha256": "0"}, "mine"), domain)
try:
    accounts.create_all(owner, items, [domain])
except Taken:
    left = directory.existing(AccountItem, names)
    print(sorted(left) == [names[120]], directory.get(AccountItem, names[120]).display_name)
"""


def test_an_account_that_somebody_made_meanwhile_takes_nothing_with_it(fleet, tenant):
    """150 accounts are more than one transaction; the conflict is in the second."""
    owner, _, domain = tenant
    assert in_the_directory(fleet, _RACE, owner, domain) == "True mine"


_DEATH = """
import sys, time
from lambdas.repositories import accounts as module
from lambdas.repositories.accounts import Accounts, UnderWay
from lambdas.repositories.directory import Directory
from lambdas.repositories.items import account_item
from lambdas.repositories.models import AccountItem, DomainItem

directory, (owner, name) = Directory(), sys.argv[1:]
accounts, domain = Accounts(directory), directory.get(DomainItem, name)
names = [f"u{number:03d}@{name}" for number in range(150)]

def items():
    return [account_item(aor, owner, {"ha1_md5": "0", "ha1_sha256": "0"}, "") for aor in names]

class Dying(Accounts):
    def _take_back(self, note):
        pass

    def _together(self, items, domains, note=None, last=False):
        if last:
            raise SystemError("killed")
        super()._together(items, domains, note, last)

try:
    Dying(directory).create_all(owner, items(), [domain])
except SystemError:
    print(len(directory.existing(AccountItem, names)))
try:
    accounts.create_all(owner, items(), [domain])
except UnderWay:
    print("under way")
module.UNFINISHED = -1
accounts.create_all(owner, items(), [domain])
print(len(directory.existing(AccountItem, names)))
try:
    accounts.create_all(owner, items(), [domain])
except module.Taken:
    print(len(directory.existing(AccountItem, names)))
"""


def test_what_an_import_has_made_that_died_is_taken_back_by_the_next_one(fleet, tenant):
    owner, _, domain = tenant
    assert in_the_directory(fleet, _DEATH, owner, domain).split("\n") == ["98", "under way", "150", "150"]


_GUEST = """
import sys
from lambdas.repositories.accounts import Accounts
from lambdas.repositories.directory import Directory
from lambdas.repositories.items import account_item
from lambdas.repositories.models import DomainItem

directory, (guest, name) = Directory(), sys.argv[1:]
Accounts(directory).create(account_item(f"ann@{name}", guest, {"ha1_md5": "0", "ha1_sha256": "0"}, ""), directory.get(DomainItem, name))
"""


def test_a_domain_stays_while_other_tenants_have_accounts_in_it(fleet, tenant):
    """As those have who signed up, once nobody may sign up any more."""
    _, key, domain = tenant
    guest = fleet.client.api("POST", "/v1/tenants", {"name": "Guest"})["id"]
    in_the_directory(fleet, _GUEST, guest, domain)
    status, problem = ask(fleet, key, "DELETE", f"/v1/domains/{domain}")
    assert (status, "still has accounts" in problem["detail"]) == (409, True)
    fleet.client.api("DELETE", f"/v1/accounts/ann@{domain}")
    assert ask(fleet, key, "DELETE", f"/v1/domains/{domain}")[0] == 204


def in_the_directory(fleet, script, *words):
    environment = {**os.environ, **DEVELOPMENT_CREDENTIALS, "AWS_ENDPOINT_URL": fleet.endpoint}
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()
