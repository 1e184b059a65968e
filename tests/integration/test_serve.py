"""``sipwizard serve``: phones, and what is left of everything when the machine goes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from scripts.fleet_parts import ROOT, SIP, Host, PhoneAccount
from scripts.processes import wait_for
from tests.integration.test_scripts import children
from tests.support.fleets import fresh_base
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.integration

DOMAIN = "sip.home.arpa"


class Served:
    def __init__(self, directory):
        base = fresh_base()
        self.directory, self.loopback = directory, base
        self.address = f"{base.rpartition('.')[0]}.200"

    def start(self, address=""):
        self.address = address or self.address
        command = [
            sys.executable, "-m", "scripts.serve", "--directory", str(self.directory), "--address", self.address,
            "--loopback", self.loopback,
        ]  # fmt: skip
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if "account add" in line:
                return "".join(lines)
        raise AssertionError(self.process.communicate())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def kill(self):
        """As a loss of power would, but for what the system still writes."""
        parts = children(self.process.pid)
        self.process.kill()
        self.process.communicate()
        wait_for("its parts to end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in parts), 30)

    def part(self, word):
        """Its process whose command has ``word``."""
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children(self.process.pid)}
        return next((pid for pid, command in commands.items() if word.encode() in command), 0)

    def accounts(self):
        lines = (self.directory / "first-phones.txt").read_text().split("\n")
        words = [line.split() for line in lines if line]
        return [PhoneAccount(f"{one[1]}@{DOMAIN}", one[1], one[3]) for one in words]

    def api(self, path):
        key = (self.directory / "admin.key").read_text().strip()
        request = urllib.request.Request(
            f"http://{self.loopback}:8080{path}", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.loopback}:9090/health", timeout=5) as answer:
                return json.load(answer)["ready"]
        except OSError:
            return False

    def phone(self, account):
        host = Host(self.loopback)
        return SocketPhone(account, DOMAIN, host, (self.address, SIP))


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path / "kept")
    made.start()
    yield made
    if made.process.poll() is None:
        made.stop()


def test_phones_call_before_and_after_a_loss(served):
    one, other = served.accounts()
    with served.phone(one) as alice, served.phone(other) as bob:
        assert alice.register() == bob.register() == 200
        caller, callee = call(alice, bob, f"sip:{other.username}@{DOMAIN}")
        served.kill()
        said = served.start()
        assert "Serving" in said
        assert one.password not in said
        in_dialog(bob, callee, "INVITE", alice)
        in_dialog(alice, caller, "BYE", bob)
        alice.forget(), bob.forget()
        call(alice, bob, f"sip:{other.username}@{DOMAIN}")
    (tenant,) = served.api("/v1/tenants")["items"]
    found = served.api(f"/v1/accounts?tenant={tenant['id']}")["items"]
    assert sorted(item["aor"] for item in found) == [f"100@{DOMAIN}", f"101@{DOMAIN}"]
    assert served.stop() == 0


def test_what_ends_is_started_again(served):
    one, other = served.accounts()
    with served.phone(one) as alice, served.phone(other) as bob:
        assert alice.register() == bob.register() == 200
        for word in ("scripts.durable", "lambdas", "edge"):
            pid = served.part(word)
            assert pid
            subprocess.run(["kill", "-9", str(pid)], check=True)
            wait_for(f"another {word}", lambda word=word, pid=pid: served.part(word) not in (0, pid), 30)
        wait_for("the edge", served.is_ready, 30)
        call(alice, bob, f"sip:{other.username}@{DOMAIN}")
    for name in ("admin.key", "first-phones.txt", "tables.sqlite", "secrets.key", "ca.key"):
        assert (served.directory / name).stat().st_mode & 0o077 == 0, name


def test_another_address(served):
    """As a router may give it one day."""
    (one, _) = served.accounts()
    served.kill()
    served.start(f"{served.loopback.rpartition('.')[0]}.201")
    with served.phone(one) as alice:
        assert alice.register() == 200


def test_two_do_not_serve_from_one_directory(served):
    with pytest.raises(AssertionError, match="another one serves"):
        Served(served.directory).start()


@pytest.mark.parametrize("address", ["home", "::1", "192.0.2.1"])
def test_an_address_that_is_not_this_machines(tmp_path, address):
    with pytest.raises(AssertionError, match=r"address|can't be used"):
        Served(tmp_path).start(address)
