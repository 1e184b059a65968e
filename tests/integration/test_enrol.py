"""A machine becomes an edge by one command, and what it installs runs."""

from __future__ import annotations

import configparser
import contextlib
import ctypes
import json
import os
import pwd
import secrets
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.fleet import end_engines
from scripts.fleet_parts import DEVELOPMENT_CREDENTIALS, PREFIX
from scripts.processes import Processes, wait_for
from tests.integration.test_provisioning import ask, tenant
from tests.support import instance_metadata

pytestmark = pytest.mark.integration

__all__ = ["tenant"]  # the fixture

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "scripts" / "sipwizard-edge.service"
ENGINE_UNIT = ROOT / "scripts" / "rtpengine@.service"
SERVE_UNIT = ROOT / "scripts" / "sipwizard-serve.service"
RULES = ROOT / "scripts" / "sipwizard-engines.rules"


def test_a_token_is_good_for_one_edge_and_once(fleet, tenant):
    assert ask(fleet, tenant[1], "POST", "/v1/edges/tokens", {"id": "x", "addresses": ["203.0.113.5"]})[0] == 403
    name = f"edge-{secrets.token_hex(3)}"
    token = fleet.client.api("POST", "/v1/edges/tokens", {"id": name, "addresses": ["203.0.113.6", "203.0.113.5"]})[
        "token"
    ]
    body = {"token": token, "public_key": "A" * 43 + "="}
    status, made = ask(fleet, "", "POST", "/v1/edges/enrol", body)
    assert (status, made) == (201, {
        "id": name, "addresses": ["203.0.113.6", "203.0.113.5"], "places": [], "control": [fleet.api_url],
        "control_auth": "none", "certificate": "files",
    })  # fmt: skip
    status, problem = ask(fleet, "", "POST", "/v1/edges/enrol", body)
    assert (status, "used already" in problem["detail"]) == (403, True)
    assert ask(fleet, "", "POST", "/v1/edges/enrol", {**body, "token": "x.y"})[0] == 403
    # A machine in the place of another one.
    token = fleet.client.api("POST", "/v1/edges/tokens", {"id": name, "addresses": ["203.0.113.6"]})["token"]
    assert ask(fleet, "", "POST", "/v1/edges/enrol", {"token": token, "public_key": "B" * 43 + "="})[0] == 201
    shown = fleet.client.api("GET", f"/v1/edges/{name}")
    assert (shown["public_key"], shown["addresses"]) == ("B" * 43 + "=", ["203.0.113.6"])
    fleet.client.request("DELETE", f"/v1/edges/{name}")


def _deny_write_execute():
    """As MemoryDenyWriteExecute has it (PR_SET_MDWE)."""
    ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Where ``scripts/enrol --root`` installs, which takes its time only once."""
    if os.geteuid() != 0:
        pytest.skip("makes a user")
    made = Path("/tmp") / f"enrol-{secrets.token_hex(4)}"  # its user has to get there
    had_user = any(entry.pw_name == "sipwizard" for entry in pwd.getpwall())
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if not had_user:
            subprocess.run(["userdel", "sipwizard"], check=False, capture_output=True)


def _enrol(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "enrol", "--root", place, *arguments],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
    )  # fmt: skip


@contextlib.contextmanager
def _started(place: Path, address: str, **environment: str) -> Iterator[None]:
    """What the unit starts, as the unit's user: there is no systemd here."""
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(place / "etc/systemd/system/sipwizard-edge.service")
    words = shlex.split(unit["Service"]["ExecStart"].replace("/opt", f"{place}/opt").replace("/etc", f"{place}/etc"))
    state = place / "state"
    state.mkdir(exist_ok=True)
    shutil.chown(state, "sipwizard")
    toml = place / "etc/sipwizard/edge.toml"
    text = toml.read_text().replace("/var/lib/sipwizard", str(state)).replace("127.0.0.1:9090", f"{address}:9090")
    toml.write_text(text)
    process = subprocess.Popen(
        words, cwd=place / "opt/sipwizard", user="sipwizard", group="sipwizard", extra_groups=[],
        preexec_fn=_deny_write_execute, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)
        end_engines(state)


def test_one_command_makes_an_edge(fleet, place):
    address = f"{fleet.control.address.rpartition('.')[0]}.55"
    name = f"edge-{secrets.token_hex(3)}"
    token = fleet.client.api("POST", "/v1/edges/tokens", {"id": name, "addresses": [address]})["token"]
    try:
        done = _enrol(place, "--api", fleet.api_url, "--token", token)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"This is edge {name} now" in done.stdout
        assert token not in done.stdout
        settings = tomllib.loads((place / "etc/sipwizard/edge.toml").read_text())
        assert (settings["address"], settings["listen"][0]) == (address, f"udp://{address}:5060")
        assert settings.get("media") == ("rtpengine" if shutil.which("rtpengine") else None)
        for file in ("systemd/system/rtpengine@.service", "polkit-1/rules.d/50-sipwizard-engines.rules"):
            assert (place / "etc" / file).exists()
        key = place / "etc/sipwizard/edge.key"
        assert (stat.S_IMODE(key.stat().st_mode), key.owner()) == (0o600, "sipwizard")
        again = _enrol(place, "--api", fleet.api_url, "--token", token)
        assert (again.returncode, "an edge already" in again.stderr) == (1, True)
        with _started(place, address):
            wait_for(
                "it to be in the fleet", lambda: fleet.client.api("GET", f"/v1/edges/{name}")["holds"] == [address], 30
            )
    finally:
        fleet.client.request("DELETE", f"/v1/edges/{name}")


def test_an_instance_of_the_stack_enrols_itself(fleet, place, tmp_path):
    """Its role says which edge it is; no token, and no key that somebody would have to bring there."""
    network = fleet.control.address.rpartition(".")[0]
    address, primary, second, url_host = (f"{network}.{last}" for last in (71, 72, 73, 74))
    name = f"us-east-1-{secrets.token_hex(3)}"
    role = "arn:aws:sts::000000000000:assumed-role/stack-EdgeARole-1ABC/"
    metadata = instance_metadata.serve(url_host, "eni-0123456789abcdef0", [primary, second])
    environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://{}:{}".format(*metadata.server_address)}
    shutil.rmtree(place / "etc/sipwizard", ignore_errors=True)
    functions = Processes(tmp_path)
    arguments = ("--instance", "--api", f"http://{url_host}:8081")

    def function_url(caller: str) -> None:
        functions.start(
            caller.rpartition("/")[2],
            [sys.executable, "-m", "tests.support.function_url", url_host, "8081", caller],
            {
                **DEVELOPMENT_CREDENTIALS, "AWS_ENDPOINT_URL": fleet.endpoint, "TABLE_PREFIX": PREFIX,
                "PYTHONPATH": str(ROOT), "EDGE_ROLES": json.dumps({role: [name, address]}), "OTHER_CONTROL": fleet.api_url,
            },
        )  # fmt: skip
        wait_for("the URL", lambda: _listens(url_host, 8081), 20)

    try:
        function_url("arn:aws:sts::000000000000:assumed-role/stack-EdgeARole-1ABCD/i-stranger")
        refused = _enrol(place, *arguments, **environment)
        assert (refused.returncode, "No edge is meant for" in refused.stderr) == (1, True), refused.stderr
        functions.stop("i-stranger")
        function_url(f"{role}i-0123")
        done = _enrol(place, *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        settings = tomllib.loads((place / "etc/sipwizard/edge.toml").read_text())
        assert (settings["id"], settings["address"], settings["mesh_public"]) == (name, address, f"{address}:5070")
        assert (settings["takeover"], settings["takeover_interface"]) == ("ec2", "eni-0123456789abcdef0")
        assert (settings["listen"][0], settings["spare_listen"][1]) == (f"udp://{primary}:5060", f"tcp://{second}:5060")
        assert settings["control"] == [f"http://{url_host}:8081", fleet.api_url]
        added = (place / "etc/systemd/system/sipwizard-edge.service.d/address.conf").read_text()
        assert f"ip address replace {second}/32 dev " in added
        with _started(place, primary, **environment):
            wait_for(
                "it to be in the fleet", lambda: fleet.client.api("GET", f"/v1/edges/{name}")["holds"] == [address], 30
            )
    finally:
        functions.stop_all()
        metadata.shutdown()
        metadata.server_close()
        fleet.client.request("DELETE", f"/v1/edges/{name}")


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd's tools")
@pytest.mark.parametrize(
    ("unit", "name"),
    [(UNIT, UNIT.name), (ENGINE_UNIT, "rtpengine@192.0.2.1.service"), (SERVE_UNIT, SERVE_UNIT.name)],
)
def test_the_services_are_confined(tmp_path, unit, name):
    text = unit.read_text().replace("/opt/sipwizard/.venv/bin/python", "/bin/true")
    (tmp_path / unit.name).write_text(text.replace("/usr/bin/rtpengine", "/bin/true"))
    said = subprocess.run(["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--json=short", unit]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    exposure = sum(float(one["exposure"]) for one in found if one.get("exposure"))
    assert exposure < 2.5


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which reads the rules as polkit does")
@pytest.mark.parametrize(
    ("user", "unit", "verb", "may"),
    [
        ("sipwizard", "rtpengine@203.0.113.11.service", "start", True),
        ("sipwizard", "rtpengine@203.0.113.11.service", "stop", True),
        ("sipwizard", "rtpengine@203.0.113.11.service", "set-property", False),
        ("sipwizard", "rtpengine@..service", "start", False),
        ("sipwizard", "ssh.service", "stop", False),
        ("nobody", "rtpengine@203.0.113.11.service", "start", False),
    ],
)
def test_the_edge_may_start_its_engines_and_nothing_else(user, unit, verb, may):
    details = json.dumps({"unit": unit, "verb": verb})
    asks = f"""
        const polkit = {{Result: {{YES: "yes"}}, addRule: rule => {{
            const details = {details}, action = {{
                id: "org.freedesktop.systemd1.manage-units", lookup: name => details[name]
            }};
            console.log(rule(action, {{user: "{user}"}}) === "yes");
        }}}};
    """
    said = subprocess.run(["node", "-e", asks + RULES.read_text()], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(may).lower()
