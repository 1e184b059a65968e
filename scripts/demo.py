"""``scripts/demo``: two real phones register at different edges of the running fleet and call each other, both ways."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from scripts.baresip import Baresip
from scripts.fleet_parts import ROOT, Host, PhoneAccount
from scripts.processes import StartError


class Ladder:
    """Prints what the edges see, as it happens, once for each message that arrives or leaves."""

    def __init__(self, edges: list[dict[str, Any]], phones: dict[str, str]) -> None:
        self._phones = phones
        self._begun = time.time()
        self._lock = threading.Lock()
        self.crossings = 0
        for edge in edges:
            threading.Thread(target=self._watch, args=(edge["metrics"],), daemon=True).start()

    def name(self, remote: str, phone: str) -> None:
        self._phones[remote] = phone

    def _watch(self, metrics: str) -> None:
        try:
            connection = http.client.HTTPConnection(metrics, timeout=None)
            connection.request("GET", "/trace")
            response = connection.getresponse()
            while line := response.readline():
                self._show(json.loads(line))
        except (OSError, http.client.HTTPException):
            return  # the fleet has stopped; the demo notices by itself

    def _show(self, seen: dict[str, Any]) -> None:
        if "keepalive" in seen["line"] or seen["cseq"].endswith("OPTIONS"):
            return
        edge = f"{seen['edge']} ({seen['address']})" if seen["direction"] != "mesh" else seen["edge"]
        remote = self._phones.get(seen["remote"].rpartition(":")[2], seen["remote"])
        line = seen["line"].removesuffix(" SIP/2.0").removeprefix("SIP/2.0 ")
        if not seen["request"]:
            line += f"  [{seen['cseq'].partition(' ')[2]}]"
        match seen["direction"]:
            case "in":
                arrow = f"{remote:>12} -> {edge}"
            case "out":
                arrow = f"{remote:>12} <- {edge}"
            case _:
                self.crossings += 1
                arrow = f"{'':>12}    {edge} => {seen['owner'] or seen['address']} over the mesh"
        with self._lock:
            print(f"{seen['time'] - self._begun:7.3f} s  {arrow:<58} {line}", flush=True)


def call(one: Baresip, other: Baresip, uri: str, hang_up: Baresip) -> None:
    """One answered call. Raises StartError at the first step that isn't seen."""
    print(f"\n--- {one.name} calls {other.name}, {hang_up.name} hangs up")
    one.command("dial", uri)
    other.wait("CALL_INCOMING")
    other.command("accept")
    one.wait("CALL_ESTABLISHED")
    time.sleep(1.5)  # let them talk
    hang_up.command("hangup")
    (other if hang_up is one else one).wait("CALL_CLOSED")


def main() -> int:
    argparse.ArgumentParser(prog="scripts/demo", description=__doc__).parse_args()
    path = ROOT / ".local" / "up.json"
    if not path.exists():
        print("demo: no fleet is running; start one with scripts/up in another terminal", file=sys.stderr)
        return 1
    fleet = json.loads(path.read_text())
    if len(fleet["edges"]) < 2:
        print("demo: the fleet has one edge; start it with --edges 2", file=sys.stderr)
        return 1
    accounts = {item["username"]: PhoneAccount(**item) for item in fleet["accounts"]}
    alice, bob = accounts["alice"], accounts["bob"]
    domain = fleet["domain"]
    first, second = fleet["edges"][:2]
    ladder = Ladder(fleet["edges"], {"15081": "alice", "15092": "bob"})
    phones: list[Baresip] = []
    with tempfile.TemporaryDirectory(prefix="sipwizard-demo-") as scratch:
        try:
            host = Host("127.0.0.1")
            print(f"--- alice registers at {first['id']}, bob at {second['id']}")
            for account, edge, port in ((alice, first, 15081), (bob, second, 15092)):
                phone = Baresip(Path(scratch), account, domain, edge["udp"], host, None, port, port + 100)
                phones.append(phone)
                phone.start()
            for phone in phones:
                if not phone.registered():
                    raise StartError(f"{phone.name} didn't register")
            one, other = phones
            call(one, other, f"sip:bob@{domain}", one)
            call(other, one, f"sip:alice@{domain}", one)
        except StartError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        finally:
            for phone in phones:
                phone.stop()
            time.sleep(0.3)
    if not ladder.crossings:
        print("demo: nothing crossed the mesh, which can't be", file=sys.stderr)
        return 1
    print(
        f"\nProved: two baresip phones, registered at {first['id']} and {second['id']}, called each other and hung up "
        f"from either side;\n{ladder.crossings} messages crossed the mesh, so that each phone only ever heard from the "
        "edge it registered at."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
