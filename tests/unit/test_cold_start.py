"""What a function imports before it can answer: edges, and phones behind them, wait for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

WEB = {"fastapi", "aiohttp", "uvicorn", "yaml"}
PEOPLE = {"pygal", "lambdas.api.provisioning", "lambdas.api.status_page", "lambdas.api.security"}
OUTSIDE = {"boto3", "dns", "lambdas.lookups.enum", "lambdas.lookups.pages", "lambdas.lookups.mail"}
ACME = {"acme", "josepy", "requests", "lambdas.certificates"}
GEOGRAPHY = {"phonenumbers.geodata", "phonenumbers.carrierdata", "phonenumbers.tzdata", "phonenumbers.geocoder"}
_IMPORTED = "import sys, json; import lambdas.handlers.{}; print(json.dumps(sorted(sys.modules)))"

# (handler, what it doesn't import, how many modules at most, why)
RULES = [
    ("decisions", WEB | PEOPLE | OUTSIDE | ACME | GEOGRAPHY, 750, "edges wait for it"),
    ("provisioning", ACME, 1300, "people wait for it"),
    ("hooks", ACME | {"fastapi", "starlette", "uvicorn", "yaml", "mangum", "lambdas.api"}, 800, "it answers no HTTP"),
    (
        "status",
        ACME | {"fastapi", "mangum", "uvicorn", "yaml", "aiohttp", "dns", "lambdas.api.provisioning"},
        700,
        "nor this",
    ),
    ("certificates", (WEB | PEOPLE) - {"aiohttp"} | {"mangum", "starlette", "lambdas.api"}, 900, "nor this"),
]


@pytest.mark.parametrize(("handler", "absent", "most", "why"), RULES, ids=[rule[0] for rule in RULES])
def test_a_handler_imports_only_what_it_needs(handler, absent, most, why):
    environment = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1", "STATUS_BUCKET": "x", "ACME_DIRECTORY": "x"}
    environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED.format(handler)], capture_output=True, text=True, check=True, env=environment
    )
    modules = set(json.loads(done.stdout))
    there = {name for name in absent if any(one == name or one.startswith(f"{name}.") for one in modules)}
    assert not there, f"lambdas.handlers.{handler} imports {there}: {why}"
    assert len(modules) <= most, f"lambdas.handlers.{handler} imports {len(modules)} modules: {why}"
