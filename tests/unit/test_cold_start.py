"""What a function imports before it can answer: edges, and phones behind them, wait for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from lambdas.packaging.package import UNUSED

WEB = {"fastapi", "aiohttp", "uvicorn", "yaml", "httpx", "jwt", "lambdas.push"}
PEOPLE = {"pygal", "lambdas.api.provisioning", "lambdas.api.status_page", "lambdas.api.security"}
OUTSIDE = {"boto3", "dns", "lambdas.lookups.enum", "lambdas.lookups.pages", "lambdas.lookups.mail"}
ACME = {"acme", "josepy", "requests", "lambdas.certificates"}
GEOGRAPHY = {"phonenumbers.geodata", "phonenumbers.carrierdata", "phonenumbers.tzdata", "phonenumbers.geocoder"}
_IMPORTED = """
import importlib.metadata, json, sys
class LeftOut:
    def find_spec(self, name, *_):
        if name in {left_out!r}:
            raise ModuleNotFoundError(f"{{name}} isn't in the function's package", name=name)
def version(name):
    raise importlib.metadata.PackageNotFoundError(name)
sys.meta_path.insert(0, LeftOut())
importlib.metadata.version = version
import lambdas.handlers.{handler}
print(json.dumps(sorted(sys.modules)))
"""
"""As in a function's package, which has no metadata either."""

# (handler, what it doesn't import, how many modules at most, why)
RULES = [
    ("decisions", WEB | PEOPLE | OUTSIDE | ACME | GEOGRAPHY, 750, "edges wait for it"),
    ("provisioning", ACME, 1300, "people wait for it"),
    ("hooks", ACME | {"fastapi", "starlette", "uvicorn", "yaml", "mangum", "lambdas.api"}, 800, "it answers no HTTP"),
    (
        "push",
        ACME | {"fastapi", "starlette", "uvicorn", "yaml", "mangum", "lambdas.api", "phonenumbers"},
        1000,
        "a call waits",
    ),
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
    left_out = [name.replace("/", ".") for name in UNUSED[f"{handler.capitalize()}Function"]]
    code = _IMPORTED.format(handler=handler, left_out=left_out)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert not done.returncode, done.stderr
    modules = set(json.loads(done.stdout))
    there = {name for name in absent if any(one == name or one.startswith(f"{name}.") for one in modules)}
    assert not there, f"lambdas.handlers.{handler} imports {there}: {why}"
    assert len(modules) <= most, f"lambdas.handlers.{handler} imports {len(modules)} modules: {why}"
