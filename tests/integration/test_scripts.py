"""``scripts/up`` as a newcomer meets it: what it says, what it leaves behind, and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.fleet import end_engines
from scripts.fleet_parts import CONTROL, DOMAIN, SIP
from scripts.processes import wait_for
from tests.support.fleets import fresh_base
from tests.support.pace import slowness

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent


def start(address, local, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.up", "--address", address, "--local", str(local), *more],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for_file(path, process, seconds=60):
    end = time.monotonic() + seconds * slowness()
    while not (path.exists() and path.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def children(pid):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


def check_certificate(authority, edge, at):
    """For the edge's address, and its name."""
    address, _, port = at.rpartition(":")
    context = ssl.create_default_context(cafile=authority)
    for name in (address.strip("[]"), f"{edge}.{DOMAIN}"):
        with socket.create_connection((address.strip("[]"), int(port)), 10) as stream:
            context.wrap_socket(stream, server_hostname=name).close()


def test_up_says_how_and_leaves_nothing_behind(tmp_path):
    base = fresh_base()
    process = start(base, tmp_path, "--edges", "3")
    wait_for_file(tmp_path / "up.json", process)
    described = json.loads((tmp_path / "up.json").read_text())
    assert described["domain"] == DOMAIN
    assert described["key"].startswith("sw_")
    assert [edge["id"] for edge in described["edges"]] == ["edge-a", "edge-b", "edge-c"]
    listeners = {"udp", "tcp", "tls", "wss", "udp6", "tcp6", "tls6", "wss6"}
    assert set(described["edges"][0]) == {"id", "metrics", "pid"} | listeners
    assert described["edges"][0]["udp"] == f"{base}:{SIP}"
    assert described["edges"][1]["udp6"] is None
    for edge in described["edges"]:
        for name in listeners:
            if edge[name] and name.startswith(("tls", "wss")):
                check_certificate(described["ca"], edge["id"], edge[name])
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0
    assert {"alice", "bob"} <= {account["username"] for account in described["accounts"]}
    assert (tmp_path / "up.json").stat().st_mode & 0o077 == 0, "it holds passwords"
    started = children(process.pid)
    assert len(started) == 5
    started += [int(file.read_text()) for file in (tmp_path / "fleet").glob("*.state/engines/*.pid")]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    for word in (DOMAIN, described["accounts"][0]["password"], f"{base}:{SIP}", str(tmp_path / "up.json")):
        assert word in out
    assert f"scripts/demo --local {tmp_path}," in out
    assert not (tmp_path / "up.json").exists()
    wait_for("its processes to end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 30)
    for kind, port in ((socket.SOCK_DGRAM, SIP), (socket.SOCK_STREAM, CONTROL)):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((base, port))


def test_even_a_killed_up_leaves_no_process(tmp_path):
    """But for its media engines: the next one ends them."""
    process = start(fresh_base(), tmp_path)
    wait_for_file(tmp_path / "up.json", process)
    started = children(process.pid)
    process.kill()
    process.communicate()
    wait_for("its processes to end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 30)
    engines = [int(file.read_text()) for file in (tmp_path / "fleet").glob("*.state/engines/*.pid")]
    assert len(engines) == (2 if shutil.which("rtpengine") else 0)
    end_engines(tmp_path / "fleet")
    wait_for("the engines to end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in engines), 30)


def test_a_second_up_leaves_the_first_alone(tmp_path):
    base = fresh_base()
    first = start(base, tmp_path, "--edges", "1")
    try:
        wait_for_file(tmp_path / "up.json", first)
        kept = (tmp_path / "fleet" / "edge-a.toml").read_text()
        second = start(base, tmp_path, "--edges", "1")
        _, err = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "another fleet" in err
        assert json.loads((tmp_path / "up.json").read_text())["tenant"].startswith("t")
        assert (tmp_path / "fleet" / "edge-a.toml").read_text() == kept
        for file in (tmp_path / "fleet").glob("*.state/engines/*.pid"):
            assert Path(f"/proc/{file.read_text().strip()}").exists()
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)


@pytest.mark.parametrize(("address", "edges"), [("nonsense", "1"), ("192.0.2.1", "1"), ("127.0.0.253", "3")])
def test_addresses_that_wont_do(tmp_path, address, edges):
    process = start(address, tmp_path, "--edges", edges)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--address" in err
    assert "Traceback" not in err


def test_a_port_in_use_is_one_clear_sentence(tmp_path):
    base = fresh_base()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((base, SIP))
        process = start(base, tmp_path)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert f"udp://{base}:{SIP}" in err
    assert "in use" in err
    assert "Traceback" not in out + err


def test_an_endpoint_that_isnt_there(tmp_path):
    process = start(fresh_base(), tmp_path, "--endpoint", "http://127.0.0.1:9")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the tables can't be made at http://127.0.0.1:9" in err
    assert err.count("\n") == 1


def sandbox(tmp_path):
    """The project's scripts, without an environment."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_no_python_is_one_clear_sentence(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "env", "dirname", "basename", "mkdir", "flock", "cat", "sha256sum", "cut", "id"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    done = subprocess.run(
        [str(programs / "bash"), str(sandbox(tmp_path / "project") / "scripts" / "up")],
        env={"PATH": str(programs)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "up: Python 3.11 or newer is needed and wasn't found; on Debian 12: apt-get install python3 python3-venv\n"
    )


def test_no_network_is_one_clear_sentence(tmp_path):
    environment = {
        **os.environ,
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        environment.pop(name, None)
    done = subprocess.run(
        ["bash", str(sandbox(tmp_path) / "scripts" / "up")],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "is there a network?" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("id = 'a.b'", "id:"),
        ("address = 'here'", "address:"),
        ("listen = ['sctp://127.0.0.1:5060']", "listen.0:"),
        ("listen = []", "listen:"),
        ("mesh = '127.0.0.1'", "mesh:"),
        ("control = ['nowhere']", "control.0:"),
        ("keepalive_interval = 1", "keepalive_interval:"),
        ("colour = 'red'", "colour:"),
        ("id = ", "is not TOML"),
    ],
)
def test_edge_configuration_errors_name_the_key(tmp_path, change, says):
    settings = {
        "id": "id = 'edge-a'",
        "address": "address = '127.0.0.1'",
        "listen": "listen = ['udp://127.0.0.1:5060']",
        "mesh": "mesh = '127.0.0.1:5070'",
        "control": "control = ['http://127.0.0.1:8080']",
        "key_file": "key_file = 'edge-a.key'",
    }
    settings[change.partition(" ")[0]] = change
    path = tmp_path / "edge.toml"
    path.write_text("\n".join(settings.values()))
    done = subprocess.run(
        [sys.executable, "-m", "edge", "--config", str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_edge_without_a_key_file_says_how_to_make_one(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(
        "id = 'edge-a'\naddress = '127.0.0.1'\nlisten = ['udp://127.0.0.1:5060']\nmesh = '127.0.0.1:5070'\n"
        "control = ['http://127.0.0.1:8080']\nkey_file = 'edge-a.key'\n"
    )

    def edge(*arguments):
        command = [sys.executable, "-m", "edge", *arguments, "--config", str(path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    done = edge()
    assert done.returncode == 1
    assert "python -m edge public-key" in done.stderr
    first, second = edge("public-key"), edge("public-key")
    assert first.stdout == second.stdout
    assert len(first.stdout.strip()) == 44
    assert (tmp_path / "edge-a.key").stat().st_mode & 0o077 == 0
