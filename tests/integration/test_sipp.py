"""SIPp, the field's load generator, as phones at two edges: registrations and calls, over UDP and TCP."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

import pytest

from scripts.fleet_parts import DOMAIN, SIP
from scripts.processes import Processes

pytestmark = pytest.mark.integration

SCENARIOS = Path(__file__).parent.parent / "sipp"


def command(scenario, edge, address, port, users, transport, calls, rate):
    return [
        "sipp", f"{edge.host.address}:{SIP}", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", address,
        "-p", str(port), "-inf", str(users), "-t", transport, "-m", str(calls), "-r", str(rate),
        "-timeout", "30s", "-timeout_error", "-nostdin", "-trace_err", "-nd", "-recv_timeout", "8000",
    ]  # fmt: skip


def run(arguments, cwd):
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    errors = "\n".join(path.read_text(errors="replace")[:1500] for path in cwd.glob("*errors.log"))
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{errors}"


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_registrations_and_calls_across_edges(fleet, tmp_path, transport):
    callee, caller = fleet.accounts["carol"], fleet.accounts["alice"]
    first, second = fleet.edges
    lines = {}
    for name, account in (("callee", callee), ("caller", caller)):
        login = f"[authentication username={account.username} password={account.password}]"
        lines[name] = tmp_path / f"{name}.csv"
        lines[name].write_text(f"SEQUENTIAL\n{account.username};{DOMAIN};{login};{callee.username}\n")
    address = f"127.{1 + secrets.randbelow(250)}.{secrets.randbelow(250)}.9"
    port = 7000
    if transport == "u1":
        run(command("register", first, address, port, lines["callee"], transport, 1, 10), tmp_path)
        # The callee's socket is the one that has registered.
        listener = command("callee", first, address, port, lines["callee"], transport, 20, 10)
        processes = Processes(tmp_path / "logs")
        processes.start("callee", listener, {})
        try:
            run(command("caller", second, address, port + 1, lines["caller"], transport, 20, 10), tmp_path)
        finally:
            processes.stop_all()
    else:
        run(command("register", second, address, port, lines["caller"], transport, 50, 25), tmp_path)


def test_many_registrations(fleet, tmp_path):
    """200 at 40 a second, of 50 accounts: nothing is refused, nothing is lost."""
    users = tmp_path / "users.csv"
    rows = []
    for number in range(50):
        made = fleet.client.api("POST", "/v1/accounts", {"username": f"load{number}", "domain": DOMAIN})
        rows.append(
            f"{made['username']};{DOMAIN};[authentication username={made['username']} password={made['password']}]"
        )
    users.write_text("SEQUENTIAL\n" + "\n".join(rows) + "\n")
    address = f"127.{1 + secrets.randbelow(250)}.{secrets.randbelow(250)}.9"
    run(command("register", fleet.edges[0], address, 7000, users, "u1", 200, 40), tmp_path)
    assert all(fleet.client.api("GET", f"/v1/accounts/load{number}@{DOMAIN}/bindings") for number in range(50))
