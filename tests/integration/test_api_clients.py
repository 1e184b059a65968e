"""Programs made from the API's document by a generator of the field: nothing of it is left out, and it works."""

from __future__ import annotations

import json
import subprocess
import urllib.request

import pytest

from scripts.fleet_parts import DOMAIN, ROOT

TOOLS = ROOT / ".venv" / "tools" / "bin"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not (TOOLS / "openapi-python-client").exists(), reason="scripts/test installs it"),
]

_PROGRAM = """
import datetime, sys
sys.path.insert(0, sys.argv[1])
from made import AuthenticatedClient
from made.api.accounts import create_account, list_accounts, read_account
from made.api.calls import list_calls
from made.models import NewAccount, Problem
client = AuthenticatedClient(sys.argv[2], sys.argv[3], raise_on_unexpected_status=True)
made = create_account.sync(client=client, body=NewAccount("made-by-a-client", sys.argv[4]))
read = read_account.sync(made.aor, client=client)
page = list_accounts.sync(client=client, tenant=sys.argv[5])
calls = list_calls.sync(client=client, tenant=sys.argv[5], day=datetime.date(2026, 1, 31))
refused = read_account.sync("nobody@" + sys.argv[4], client=client)
assert isinstance(refused, Problem), refused
print(read.username, read.aor in [one.aor for one in page.items], calls.items, refused.status)
"""


@pytest.fixture(scope="module")
def document(fleet):
    with urllib.request.urlopen(f"{fleet.api_url}/v1/openapi.json", timeout=60) as answer:
        return json.load(answer)


def operations(document):
    return [(path, one) for path, ways in document["paths"].items() for one in ways.values()]


def test_a_generated_client_works(fleet, tmp_path, document):
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    command = [
        TOOLS / "openapi-python-client",
        "generate",
        "--path",
        "openapi.json",
        "--output-path",
        "made",
        "--meta",
        "none",
    ]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    # It reads JSON only, where YAML or CSV may be sent as well.
    faults = [line for line in made.stdout.splitlines() if line.startswith("Unsupported")]
    assert made.stdout.count("WARNING") == len(faults)
    assert all(line.endswith(("application/yaml", "text/csv")) for line in faults)
    functions = {file.stem for file in (tmp_path / "made" / "api").glob("*/*.py")} - {"__init__"}
    assert functions == {one["operationId"] for _, one in operations(document)}
    arguments = [str(tmp_path), fleet.api_url, fleet.client.key, DOMAIN, fleet.tenant]
    said = subprocess.run(
        [TOOLS / "python", "-c", _PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (said.stdout, said.returncode) == ("made-by-a-client True [] 404\n", 0), said.stderr[-1500:]


def test_the_document_says_each_thing_once(document):
    text = json.dumps(document, separators=(",", ":"))
    assert len(text) < 250_000
    names = [one["operationId"] for _, one in operations(document)]
    assert len(names) == len(set(names))
    assert not [name for name in names if "_v1_" in name]
    assert not [name for name in document["components"]["schemas"] if not name.isidentifier() or "_" in name]
    assert text.count('"title":"Problem"') == 1
    assert document["servers"]
    public = {path for path, one in operations(document) if one.get("security") == []}
    assert public == {"/v1/edges/enrol", "/v1/signup", "/v1/signup/confirm", "/v1/login", "/v1/login/confirm"}
    for _, one in operations(document):
        good = [answer for status, answer in one["responses"].items() if status.startswith("2")]
        assert good
        assert all("content" in answer for status, answer in one["responses"].items() if status in ("200", "201"))


def test_who_asks_for_nothing_is_told_where_things_are(fleet):
    with urllib.request.urlopen(f"{fleet.api_url}/", timeout=10) as answer:
        assert json.load(answer)["document"] == "/v1/openapi.json"
    request = urllib.request.Request(f"{fleet.api_url}/v1/openapi.json", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert len(answer.read()) < 30_000
