"""A machine becomes an edge by one command, and what it installs runs."""

from __future__ import annotations

import configparser
import ctypes
import json
import os
import pwd
import secrets
import shlex
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from scripts.processes import wait_for
from tests.integration.test_provisioning import ask, tenant

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "scripts" / "sipwizard-edge.service"


def test_a_token_is_good_for_one_edge_and_once(fleet, tenant):
    assert ask(fleet, tenant[1], "POST", "/v1/edges/tokens", {"id": "x", "addresses": ["203.0.113.5"]})[0] == 403
    name = f"edge-{secrets.token_hex(3)}"
    token = fleet.api("POST", "/v1/edges/tokens", {"id": name, "addresses": ["203.0.113.6", "203.0.113.5"]})["token"]
    body = {"token": token, "public_key": "A" * 43 + "="}
    status, made = ask(fleet, "", "POST", "/v1/edges/enrol", body)
    assert (status, made) == (201, {
        "id": name, "addresses": ["203.0.113.6", "203.0.113.5"], "control": [fleet.api_url], "control_auth": "none",
    })  # fmt: skip
    status, problem = ask(fleet, "", "POST", "/v1/edges/enrol", body)
    assert (status, "used already" in problem["detail"]) == (403, True)
    assert ask(fleet, "", "POST", "/v1/edges/enrol", {**body, "token": "x.y"})[0] == 403
    # A machine in the place of another one.
    token = fleet.api("POST", "/v1/edges/tokens", {"id": name, "addresses": ["203.0.113.6"]})["token"]
    assert ask(fleet, "", "POST", "/v1/edges/enrol", {"token": token, "public_key": "B" * 43 + "="})[0] == 201
    shown = fleet.api("GET", f"/v1/edges/{name}")
    assert (shown["public_key"], shown["addresses"]) == ("B" * 43 + "=", ["203.0.113.6"])
    fleet.request("DELETE", f"/v1/edges/{name}")


def _deny_write_execute():
    """As MemoryDenyWriteExecute has it (PR_SET_MDWE)."""
    ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a user")
def test_one_command_makes_an_edge(fleet, tmp_path_factory):
    address = f"{fleet.control.address.rpartition('.')[0]}.55"
    name = f"edge-{secrets.token_hex(3)}"
    token = fleet.api("POST", "/v1/edges/tokens", {"id": name, "addresses": [address]})["token"]
    place = Path("/tmp") / f"enrol-{secrets.token_hex(4)}"  # its user has to get there
    process = None
    had_user = any(entry.pw_name == "sipwizard" for entry in pwd.getpwall())
    try:
        command = [ROOT / "scripts" / "enrol", "--api", fleet.api_url, "--token", token, "--root", place]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"This is edge {name} now" in done.stdout
        assert token not in done.stdout
        settings = tomllib.loads((place / "etc/sipwizard/edge.toml").read_text())
        assert (settings["address"], settings["listen"][0]) == (address, f"udp://{address}:5060")
        key = place / "etc/sipwizard/edge.key"
        assert (stat.S_IMODE(key.stat().st_mode), key.owner()) == (0o600, "sipwizard")
        again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (again.returncode, "an edge already" in again.stderr) == (1, True)

        # There is no systemd here: what the unit starts is started by hand, as the unit's user.
        unit = configparser.RawConfigParser(strict=False, interpolation=None)
        unit.optionxform = str
        unit.read(place / "etc/systemd/system/sipwizard-edge.service")
        words = shlex.split(
            unit["Service"]["ExecStart"].replace("/opt", f"{place}/opt").replace("/etc", f"{place}/etc")
        )
        state = place / "state"
        state.mkdir()
        shutil.chown(state, "sipwizard")
        toml = place / "etc/sipwizard/edge.toml"
        text = toml.read_text().replace("/var/lib/sipwizard", str(state)).replace("127.0.0.1:9090", f"{address}:9090")
        toml.write_text(text)
        process = subprocess.Popen(
            words, cwd=place / "opt/sipwizard", user="sipwizard", group="sipwizard", extra_groups=[],
            preexec_fn=_deny_write_execute,
        )  # fmt: skip
        wait_for("it to be in the fleet", lambda: fleet.api("GET", f"/v1/edges/{name}")["holds"] == [address], 30)
    finally:
        if process is not None:
            process.terminate()
            process.wait(20)
        fleet.request("DELETE", f"/v1/edges/{name}")
        shutil.rmtree(place, ignore_errors=True)
        if not had_user:
            subprocess.run(["userdel", "sipwizard"], check=False, capture_output=True)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd's tools")
def test_the_service_is_confined(tmp_path):
    text = UNIT.read_text().replace("/opt/sipwizard/.venv/bin/python", "/bin/true")
    (tmp_path / UNIT.name).write_text(text)
    said = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / UNIT.name], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--json=short", UNIT]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    exposure = sum(float(one["exposure"]) for one in found if one.get("exposure"))
    assert exposure < 2.5
