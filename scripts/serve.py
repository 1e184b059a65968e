"""``sipwizard serve``: the service on one machine, for real phones: its tables, control plane and edge, kept running.

Everything that it has to remember is in one directory: tables.sqlite (``scripts/durable``), the key that secrets are
sealed with, the edge's key and state, the certificate authority that its phones may trust, and the administration's API
key. Whatever ends is started again; whoever is killed, or loses power, finds everything that was acknowledged.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.runtime.engine_process import installed
from scripts.authority import DevelopmentAuthority
from scripts.fleet import DevelopmentFleet, end_engines
from scripts.fleet_client import answers
from scripts.fleet_parts import MINISTACK, DevelopmentEdge, Host
from scripts.processes import StartError

_DIRECTORY = Path("/var/lib/sipwizard-serve") if os.geteuid() == 0 else Path.home() / ".local/share/sipwizard"
_ENDS, _WITHIN = 5, 60.0  # so many ends of one process within so many seconds are a fault that no start mends
_PHONES = ("100", "101")
_FIRST = "first-phones.txt"


class OneMachine(DevelopmentFleet):
    """The fleet of one edge, which remembers."""

    def __init__(self, directory: Path, loopback: str, edge: DevelopmentEdge, domain: str) -> None:
        super().__init__(directory, Host(loopback), [edge], say=_say, ca=DevelopmentAuthority(directory), domain=domain)

    def start_ministack(self, name: str, host: Host) -> None:
        """The tables, on the disk."""
        file = self.directory / "tables.sqlite"
        arguments = ["-m", "scripts.durable", "--file", str(file), "--host", host.address, "--port", str(MINISTACK)]
        self._run(name, arguments, {}, host)
        health = f"http://{host.address}:{MINISTACK}/_ministack/health"
        self.processes.wait_until(name, lambda: answers(host, health))

    def provision(self) -> None:
        """What the first start makes: the administration's key, a tenant, the domain, and two phones' accounts."""
        kept, done = self.directory / "admin.key", self.directory / "provisioned"
        if not kept.exists():
            _write_secret(kept, self.make_key())
        self.client = replace(self.client, key=kept.read_text().strip())
        tenants = self.client.api("GET", "/v1/tenants")["items"]
        self.tenant = tenants[0]["id"] if tenants else self.client.api("POST", "/v1/tenants", {"name": "Home"})["id"]
        self._move()
        if done.exists():
            return
        self._once("POST", "/v1/domains", {"tenant": self.tenant, "name": self.domain, "default": True})
        phones = [self._phone(user) for user in _PHONES]
        _write_secret(self.directory / _FIRST, "\n".join(phones))
        _write_secret(done, self.domain)

    def _move(self) -> None:
        """The machine may have another address than at the last start."""
        edge = self.edges[0]
        status, known = self.client.request("GET", f"/v1/edges/{edge.id}")
        if status == 200 and known["addresses"] != [edge.address]:
            self.client.api("PATCH", f"/v1/edges/{edge.id}", {"addresses": [edge.address]})

    def _phone(self, user: str) -> str:
        """An account, and how a phone gets it; the start before this one may have made it without telling."""
        made = self._once("POST", "/v1/accounts", {"username": user, "domain": self.domain})
        if made is None:
            made = self.client.api("POST", f"/v1/accounts/{user}@{self.domain}/password", {})
        return f"  user {made['username']}    password {made['password']}"

    def _certificate_settings(self, edge: DevelopmentEdge) -> dict[str, Any]:
        """For the domain, and the address that this machine has today."""
        chain, key = self.ca.issue([edge.address, self.domain], self.directory)
        return {"certificates": [{"chain": chain.name, "key": key.name}]}

    def revive(self, name: str) -> None:
        """Start what has ended. Raises StartError."""
        if name == "ministack":
            self.start_ministack(name, self.control)
        elif name == "control":
            self.start_control()
        else:
            self.start_edge(self.edges[0])


def _say(text: str) -> None:
    print(text, flush=True)


def _write_secret(path: Path, text: str) -> None:
    """Whole, or not at all, and nobody else's to read."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def own_address() -> str:
    """The one by which this machine reaches others. Raises typer.BadParameter if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            found = str(probe.getsockname()[0])
        except OSError as error:
            raise typer.BadParameter("this machine has no network; say --address ADDRESS") from error
    return found


def serve(
    address: Annotated[
        str, typer.Option(help="Where phones reach this machine; its address in the LAN if left out.")
    ] = "",
    directory: Annotated[Path, typer.Option(help="Where everything is kept.")] = _DIRECTORY,
    domain: Annotated[str, typer.Option(help="The phones' domain; for good.")] = "sip.home.arpa",
    loopback: Annotated[str, typer.Option(help="Where its own parts and the API listen.")] = "127.0.0.1",
) -> None:
    """Run the service on this machine until Ctrl-C or SIGTERM."""
    address = address or own_address()
    try:
        ipaddress.IPv4Address(address)
    except ValueError as error:
        raise typer.BadParameter(f"--address {address} isn't an IPv4 address of this machine") from error
    directory = directory.resolve()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    edge = DevelopmentEdge(
        "edge-home", Host(address), {"media": "rtpengine", "metrics": f"{loopback}:9090", "mesh": f"{loopback}:5070"}
    )
    code = 0
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"serve: another one serves from {directory}", file=sys.stderr)
            raise typer.Exit(1) from None
        service = OneMachine(directory, loopback, edge, domain)
        try:
            service.start()
            _explain(service, edge)
            _keep_running(service, stop)
        except StartError as error:
            if not stop.is_set():
                print(f"serve: {error}", file=sys.stderr)
                code = 1
        finally:
            service.stop()
            end_engines(directory)
    raise typer.Exit(code)


def _keep_running(service: OneMachine, stop: threading.Event) -> None:
    ends: dict[str, deque[float]] = {}
    while not stop.wait(0.2):
        name = service.processes.ended()
        if name is None:
            continue
        words, now = service.processes.last_words(name), time.monotonic()
        times = ends.setdefault(name, deque(maxlen=_ENDS))
        times.append(now)
        if len(times) == _ENDS and now - times[0] < _WITHIN:
            raise StartError(f"{name} has ended {_ENDS} times within a minute: {words}")
        _say(f"{name} has ended, and is started again: {words.splitlines()[-1]}")
        service.revive(name)


def _explain(service: OneMachine, edge: DevelopmentEdge) -> None:
    phones = service.directory / _FIRST
    print(f"\nServing. Phones in this network use\n  domain        {service.domain}")
    print(f"  address       {edge.sip}   (as outbound proxy, UDP or TCP; or as the domain itself)")
    print(f"  by TLS        {edge.listeners['tls']}   (certificates are issued by {service.ca.path})")
    if phones.exists():
        if sys.stdout.isatty():
            print(phones.read_text(), end="")
        print(f"The first phones' passwords are in {phones}; delete it once they are set.")
    if not installed():
        print("Nothing is relayed without rtpengine (Debian: apt-get install rtpengine-daemon): no *43, no browsers.")
    print(
        f"Everything else by its API, at {service.api_url}:\n"
        f"  export SIPWIZARD_API={service.api_url} SIPWIZARD_TENANT={service.tenant}\n"
        f"  export SIPWIZARD_KEY=$(cat {service.directory / 'admin.key'})\n"
        "  scripts/sipwizard account add NAME",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(serve)
