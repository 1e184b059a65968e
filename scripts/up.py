"""``scripts/up``: a development fleet in the foreground."""

from __future__ import annotations

import ipaddress
import json
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.runtime.engine_process import installed
from scripts.authority import DevelopmentAuthority
from scripts.fleet import DevelopmentFleet, check_port, end_engines, loopback_fleet
from scripts.fleet_parts import DOMAIN, ROOT, WEB_PHONE, Host
from scripts.processes import StartError
from scripts.web_pages import PageServer

_LISTENERS = ("udp", "tcp", "tls", "wss", "udp6", "tcp6", "tls6", "wss6")
_LOCAL = ROOT / ".local"
_TOO_SOON = 5.0  # seconds: an edge that ends within as many has a fault that no start mends


def up(
    edges: Annotated[int, typer.Option(min=1, max=20, help="How many edges.")] = 2,
    endpoint: Annotated[str | None, typer.Option(help="A DynamoDB-compatible endpoint instead of MiniStack.")] = None,
    address: Annotated[str, typer.Option(help="The first edge's address; the others follow it.")] = "127.0.0.1",
    local: Annotated[Path, typer.Option(help="Where up.json, logs and keys go.")] = _LOCAL,
) -> None:
    """Run a development fleet until Ctrl-C."""
    try:
        first = ipaddress.IPv4Address(address)
    except ValueError as error:
        raise typer.BadParameter(f"--address {address} isn't an IPv4 address") from error
    if not first.is_loopback or int(first) % 256 + edges > 255:
        raise typer.BadParameter(f"--address has to be on the loopback network, with room for {edges} edges after it")
    begun = time.monotonic()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())

    def say(text: str) -> None:
        if stop.is_set():
            raise StartError("stopped while starting")
        print(f"[{time.monotonic() - begun:5.1f} s] {text}", flush=True)

    local = local.resolve()
    web_phone = f"http://{address}:{WEB_PHONE}"
    fleet = loopback_fleet(
        local / "fleet",
        address,
        edges,
        endpoint,
        say,
        environment={"PROBE_SECONDS": "30"},
        ca=DevelopmentAuthority(local),
        origins=[web_phone],
        ipv6=True,
        media=True,
    )
    path = local / "up.json"
    code = 0
    mine = False
    pages: PageServer | None = None
    try:
        fleet.check_ports()  # before anything of a fleet that runs here is touched
        check_port("tcp", address, WEB_PHONE)
        mine = True
        pages = PageServer(local / "web_phone", Host(address), WEB_PHONE)
        end_engines(fleet.directory)  # of one that was killed
        shutil.rmtree(fleet.directory, ignore_errors=True)
        fleet.directory.mkdir(parents=True)
        fleet.start()
        _describe(path, fleet, web_phone)
        _explain(fleet, local)
        begun_at: dict[str, float] = {}
        while not stop.wait(0.2):
            ended = fleet.processes.ended()
            if ended is None:
                continue
            edge = next((edge for edge in fleet.edges if edge.id == ended), None)
            now = time.monotonic()
            if edge is None or now - begun_at.get(ended, float("-inf")) < _TOO_SOON:
                raise StartError(f"{ended} has ended: {fleet.processes.last_words(ended)}")
            say(f"{ended} has ended, and is started again")  # as a service manager would
            begun_at[ended] = now
            fleet.start_edge(edge)
            _describe(path, fleet, web_phone)
    except StartError as error:
        if not stop.is_set():
            print(f"up: {error}", file=sys.stderr)
            code = 1
    finally:
        if mine:
            path.unlink(missing_ok=True)
            fleet.stop()
        if pages is not None:
            pages.close()
    print("Stopped.")
    raise typer.Exit(code)


def _describe(path: Path, fleet: DevelopmentFleet, web_phone: str) -> None:
    """Write ``up.json``; nobody reads half of it."""
    whole = path.with_suffix(".new")
    whole.touch(mode=0o600)
    whole.write_text(json.dumps(_description(fleet, web_phone), indent=1) + "\n")
    whole.replace(path)


def _description(fleet: DevelopmentFleet, web_phone: str) -> dict[str, Any]:
    """What ``up.json`` holds."""
    return {
        "api": fleet.api_url,
        "key": fleet.client.key,
        "domain": DOMAIN,
        "tenant": fleet.tenant,
        "ca": str(fleet.ca.path),
        "web_phone": f"{web_phone}/",
        "media": installed(),
        "edges": [
            {
                "id": edge.id,
                **dict.fromkeys(_LISTENERS),
                **edge.listeners,
                "metrics": edge.metrics,
                "pid": fleet.processes.pid(edge.id),
            }
            for edge in fleet.edges
        ],
        "accounts": [vars(account) for account in fleet.accounts.values()],
    }


def _explain(fleet: DevelopmentFleet, local: Path) -> None:
    print("\nReady. Point a softphone at it:")
    print(f"  domain    {DOMAIN}")
    for account in list(fleet.accounts.values())[:2]:
        print(f"  user      {account.username}    password  {account.password}")
    proxies = ", ".join(edge.sip for edge in fleet.edges)
    print(f"  address   {proxies}   (as outbound proxy, UDP or TCP; or as the domain itself)")
    secure = ", ".join(edge.listeners["tls"] for edge in fleet.edges)
    print(f"  by TLS    {secure}   (certificates are issued by {fleet.ca.path})")
    if installed():
        print("  echo      *43   (you hear yourself)")
    else:
        print("  echo      none: nothing is relayed without rtpengine; on Debian: apt-get install rtpengine-daemon")
    print(f"  status    {fleet.api_url}/status")
    demo = "scripts/demo" if local == _LOCAL else f"scripts/demo --local {local}"
    print(
        f"Watch two phones do it with {demo}, or a browser with {demo} --browser; everything else is in "
        f"{local / 'up.json'}. Ctrl-C stops it.",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(up)
