"""SIPp, the field's load generator, as phones at two edges: registrations and calls, over UDP, TCP and TLS. Debian builds
it without OpenSSL, so stunnel makes its TLS connections, and checks the edge's certificate."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess

import pytest

from scripts.fleet_parts import DOMAIN, ROOT, SIP, SIPS
from scripts.processes import Processes, wait_for

pytestmark = pytest.mark.integration

SCENARIOS = ROOT / "scripts" / "sipp"


def command(scenario, edge, address, port, users, transport, calls, rate, by=""):
    return [
        "sipp", f"{edge.host.address}:{SIP}", *(("-rsa", by) if by else ()), "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", address,
        "-p", str(port), "-inf", str(users), "-t", transport, "-m", str(calls), "-r", str(rate),
        "-timeout", "30s", "-timeout_error", "-nostdin", "-trace_err", "-nd", "-recv_timeout", "8000",
    ]  # fmt: skip


def run(arguments, cwd):
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    errors = "\n".join(path.read_text(errors="replace")[:1500] for path in cwd.glob("*errors.log"))
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{errors}"


@contextlib.contextmanager
def tunnel(edge, address, cwd):
    """Where connections are handed on to ``edge`` by TLS, as host:port."""
    settings, entry, name = cwd / "stunnel.conf", f"{address}:{SIP}", f"{edge.id}.{DOMAIN}"
    settings.write_text(
        f"foreground = yes\npid =\n[sips]\nclient = yes\naccept = {entry}\nconnect = {edge.host.address}:{SIPS}\n"
        f"sni = {name}\nverifyChain = yes\ncheckHost = {name}\nCAfile = {edge.settings['certificates'][0]['chain']}\n"
    )
    processes = Processes(cwd / "logs")
    processes.start("stunnel", ["stunnel", str(settings)], {})

    def listens():
        with socket.socket() as probe:
            return probe.connect_ex((address, SIP)) == 0

    try:
        wait_for("stunnel", listens, 10)
        yield entry
    finally:
        processes.stop_all()


def login(account):
    return f"[authentication username={account.username} password={account.password}]"


@pytest.fixture
def lines(fleet, tmp_path):
    """SIPp's files of who calls and who is called."""
    callee = fleet.accounts["carol"]
    made = {}
    for name, account in (("callee", callee), ("caller", fleet.accounts["alice"])):
        made[name] = tmp_path / f"{name}.csv"
        made[name].write_text(f"SEQUENTIAL\n{account.username};{DOMAIN};{login(account)};{callee.username}\n")
    return made


def fresh_address():
    return f"127.{1 + secrets.randbelow(250)}.{secrets.randbelow(250)}.9"


@pytest.mark.parametrize("secure", [False, True])
def test_calls_across_edges(fleet, tmp_path, lines, secure):
    first, second = fleet.edges
    address = fresh_address()
    run(command("register", first, address, 7000, lines["callee"], "u1", 1, 10), tmp_path)
    # The callee's socket is the one that has registered.
    listener = command("callee", first, address, 7000, lines["callee"], "u1", 20, 10)
    listener += ["-error_file", str(tmp_path / "callee_errors.log")]
    processes = Processes(tmp_path / "logs")
    processes.start("callee", listener, {})
    try:
        with tunnel(second, address, tmp_path) if secure else contextlib.nullcontext("") as entry:
            transport = "t1" if secure else "u1"
            run(command("caller", second, address, 7001, lines["caller"], transport, 20, 10, entry), tmp_path)
    finally:
        processes.stop_all()


@pytest.mark.parametrize("secure", [False, True])
def test_registrations_on_one_stream(fleet, tmp_path, lines, secure):
    edge, address = fleet.edges[1], fresh_address()
    with tunnel(edge, address, tmp_path) if secure else contextlib.nullcontext("") as entry:
        run(command("register", edge, address, 7000, lines["caller"], "t1", 50, 25, entry), tmp_path)
    bindings = fleet.client.api("GET", f"/v1/accounts/alice@{DOMAIN}/bindings")
    assert ("tls" if secure else "tcp") in [binding["transport"] for binding in bindings]


def test_many_registrations(fleet, tmp_path):
    """100 at 10 a second, of 50 accounts: nothing is refused, nothing is lost. How many a second can be decided isn't
    asked here: the whole fleet shares its processors with the tests beside this one."""
    users = tmp_path / "users.csv"
    rows = []
    for number in range(50):
        made = fleet.client.api("POST", "/v1/accounts", {"username": f"load{number}", "domain": DOMAIN})
        rows.append(
            f"{made['username']};{DOMAIN};[authentication username={made['username']} password={made['password']}]"
        )
    users.write_text("SEQUENTIAL\n" + "\n".join(rows) + "\n")
    address = fresh_address()
    run(command("register", fleet.edges[0], address, 7000, users, "u1", 100, 10), tmp_path)
    assert all(fleet.client.api("GET", f"/v1/accounts/load{number}@{DOMAIN}/bindings") for number in range(50))
