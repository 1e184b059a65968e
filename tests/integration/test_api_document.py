"""The API against its own public document: every request that it allows, and many that it doesn't, by schemathesis."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

# Some of what is wanted can't be said in a schema (a plan has rules or a script; a number is one of some country), so
# that a request fits the document doesn't mean that it is accepted.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,ignored_auth,unsupported_method,use_after_free"
)

# What the document could mean in all its corners takes minutes.
PHASES = "examples,coverage,fuzzing" if os.environ.get("LONG") else "examples,fuzzing"
EXAMPLES = "5" if os.environ.get("LONG") else "2"
# Each service has a PUT of its own, beside this path for what all have: there a PUT isn't refused with 405.
SHARED = "/v1/push/{service}"


def run(fleet, key, directory, *more, checks=CHECKS):
    command = [
        str(Path(sys.executable).parent / "st"), "run", f"{fleet.api_url}/v1/openapi.json",
        "--header", f"Authorization: Bearer {key}", "--checks", checks, "--phases", PHASES, "--max-examples", EXAMPLES, "--seed", "1", "--continue-on-failure", "--no-color", *more,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout or "passed" in done.stdout, done.stdout[-2000:]


def test_schemathesis_finds_nothing_with_a_tenants_key(fleet, tmp_path):
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Fuzz"})["id"]
    fleet.client.api("POST", "/v1/domains", {"tenant": tenant, "name": "fuzz.example.com"})
    key = fleet.client.api("POST", "/v1/keys", {"tenant": tenant, "note": "fuzz"})["key"]
    run(fleet, key, tmp_path, "--exclude-path", SHARED)
    run(fleet, key, tmp_path, "--include-path", SHARED, checks=CHECKS.replace("unsupported_method,", ""))


def test_schemathesis_finds_nothing_where_only_an_administrator_may(fleet, tmp_path):
    # The edges of the fleet are to stay, with their addresses: other tests go on with them.
    edges = ("--exclude-method", "DELETE", "--exclude-name", "PATCH /v1/edges/{edge}")
    run(fleet, fleet.client.key, tmp_path, "--include-path-regex", "^/v1/(tenants|edges)", *edges)
