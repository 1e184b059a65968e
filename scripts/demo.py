"""``scripts/demo``: two real phones, or a browser's page and one, register at different edges of the running fleet and
call each other, both ways; or they talk while their edges are killed."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.baresip import Baresip
from scripts.browser import Browser
from scripts.fleet_parts import ROOT, Host, PhoneAccount
from scripts.processes import StartError
from scripts.tones import listen, record
from scripts.web_pages import SOURCES, make_page
from scripts.web_phone import WebPhone

_TONES = {"alice": 450, "bob": 700}  # Hz, what they say


class Ladder:
    """Prints what the edges see, as it happens, once for each message that arrives or leaves. ``phones`` are their
    names by port, ``others`` is that of a remote with another port."""

    def __init__(self, edges: list[dict[str, Any]], phones: dict[str, str], others: str = "") -> None:
        self._phones = phones
        self._others = others
        self._begun = time.time()
        self._lock = threading.Lock()
        self.crossings = 0
        for edge in edges:
            threading.Thread(target=self._watch, args=(edge["metrics"],), daemon=True).start()

    def _watch(self, metrics: str) -> None:
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                connection = http.client.HTTPConnection(metrics, timeout=None)
                connection.request("GET", "/trace")
                response = connection.getresponse()
                while line := response.readline():
                    self._show(json.loads(line))
            time.sleep(0.1)  # it has ended, perhaps to come again; that the fleet has stopped the demo notices itself

    def _show(self, seen: dict[str, Any]) -> None:
        if "keepalive" in seen["line"] or seen["cseq"].endswith("OPTIONS"):
            return
        edge = f"{seen['edge']} ({seen['address']})" if seen["direction"] != "mesh" else seen["edge"]
        remote = self._phones.get(seen["remote"].rpartition(":")[2], self._others or seen["remote"])
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
    """One answered call. Raises StartError at the first step that isn't seen, or heard."""
    print(f"\n--- {one.name} calls {other.name}, {hang_up.name} hangs up")
    _begin(one, other, uri)
    hang_up.command("hangup")
    (other if hang_up is one else one).wait("CALL_CLOSED")


def _begin(one: Baresip, other: Baresip, uri: str) -> None:
    """``one`` calls ``other``, and they hear each other."""
    one.command("dial", uri)
    other.wait("CALL_INCOMING")
    other.command("accept")
    one.wait("CALL_ESTABLISHED")
    _hear({one: other.name, other: one.name})


def _have_registered(phone: Baresip) -> None:
    """Raises StartError if it isn't."""
    if not phone.registered():
        raise StartError(f"{phone.name} didn't register")


def call_echo(phone: Baresip, domain: str) -> None:
    """It hears itself. Raises StartError if it doesn't."""
    print(f"\n--- {phone.name} calls the echo number")
    phone.command("dial", f"sip:*43@{domain}")
    phone.wait("CALL_ESTABLISHED")
    _hear({phone: phone.name})
    phone.command("hangup")


def _hear(phones: Mapping[Baresip, str]) -> None:
    """Let each of them talk for a while, and hear whom it should."""
    time.sleep(0.5)
    for (phone, name), tape in zip(phones.items(), record(list(phones), 1.5), strict=True):
        heard = listen(tape, _TONES[name])
        if heard.share < 0.8:
            raise StartError(f"{phone.name} doesn't hear {name}: {heard}")
        print(f"{'':9}    {phone.name} hears {name}: {_TONES[name]} Hz, {heard.level:.0f} dB")


def phones_call(fleet: dict[str, Any], scratch: Path) -> str:
    """Two baresip phones at two edges call each other; what that proves. Raises StartError."""
    if len(fleet["edges"]) < 2:
        raise StartError("the fleet has one edge; start it with --edges 2")
    first, second = fleet["edges"][:2]
    ladder = Ladder(fleet["edges"], {"15081": "alice", "15092": "bob"})
    phones: list[Baresip] = []
    try:
        print(f"--- alice registers at {first['id']}, bob at {second['id']}")
        for user, edge, port in (("alice", first, 15081), ("bob", second, 15092)):
            phone = _baresip(fleet, scratch, user, edge, port)
            phones.append(phone)
            phone.start()
        for phone in phones:
            _have_registered(phone)
        one, other = phones
        if fleet["media"]:
            call_echo(one, fleet["domain"])
        else:
            print(
                "\n--- there is no echo number: rtpengine isn't installed (on Debian: apt-get install rtpengine-daemon)"
            )
        call(one, other, f"sip:bob@{fleet['domain']}", one)
        call(other, one, f"sip:alice@{fleet['domain']}", one)
    finally:
        for phone in phones:
            phone.stop()
        time.sleep(0.3)
    if not ladder.crossings:
        raise StartError("nothing crossed the mesh, which can't be")
    return (
        f"two baresip phones, registered at {first['id']} and {second['id']}, called and heard each other and hung up "
        f"from either side;\n{ladder.crossings} messages crossed the mesh, so that each phone only ever heard from the "
        "edge it registered at."
    )


def edges_die(fleet: dict[str, Any], scratch: Path, up: Path) -> str:
    """Two baresip phones talk while each edge is killed (SIGKILL); what that proves. Raises StartError. ``up`` has the
    fleet as it is."""
    if len(fleet["edges"]) < 2:
        raise StartError("the fleet has one edge; start it with --edges 2")
    first, second = fleet["edges"][:2]
    Ladder(fleet["edges"], {"15081": "alice", "15092": "bob"})
    one = _baresip(fleet, scratch, "alice", first, 15081)
    other = _baresip(fleet, scratch, "bob", second, 15092)
    took = []
    try:
        print(f"--- alice registers at {first['id']}, bob at {second['id']}; alice calls bob")
        for phone in (one, other):
            phone.start()
            _have_registered(phone)
        _begin(one, other, f"sip:bob@{fleet['domain']}")
        for edge in (first, second):
            print(f"\n--- kill -9 of {edge['id']}, while they talk")
            took.append(_kill(edge["id"], up, {one: other.name, other: one.name}))
            print(f"{'':9}    {edge['id']} serves again {took[-1]:.1f} s after it was killed")
        print("\n--- alice hangs up, by an edge that has never heard of the call; bob calls alice")
        one.command("hangup")
        other.wait("CALL_CLOSED")
        call(other, one, f"sip:alice@{fleet['domain']}", one)
    finally:
        for phone in (one, other):
            phone.stop()
        time.sleep(0.3)
    return (
        "both edges of a call were killed with SIGKILL, one after the other; each served again after "
        f"{max(took):.1f} s at most.\nThe two phones heard each other throughout, noticed nothing, registered nowhere "
        "anew, hung up, and called again."
    )


def _kill(edge: str, up: Path, phones: Mapping[Baresip, str]) -> float:
    """Kill an edge, and listen until it serves again; the seconds that it took. Raises StartError if somebody isn't
    heard meanwhile."""
    killed = next(one for one in json.loads(up.read_text())["edges"] if one["id"] == edge)
    tapes = [array("h") for _ in phones]
    os.kill(killed["pid"], signal.SIGKILL)
    begun = time.monotonic()
    while not _is_ready(killed["metrics"]):
        if time.monotonic() - begun > 60:
            raise StartError(f"{edge} doesn't come again")
        for tape, more in zip(tapes, record(list(phones), 0.5), strict=True):
            tape.extend(more)
    took = time.monotonic() - begun
    for (phone, name), tape in zip(phones.items(), tapes, strict=True):
        heard = listen(tape, _TONES[name])
        if heard.gap > 0.5:
            raise StartError(f"{phone.name} doesn't hear {name} for {heard.gap:.1f} s")
        print(f"{'':9}    {phone.name} hears {name}; the longest gap is {heard.gap:.2f} s")
    return took


def _is_ready(metrics: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{metrics}/health", timeout=2) as answer:
            return bool(json.load(answer)["ready"])
    except (OSError, ValueError):
        return False


def browser_calls(fleet: dict[str, Any], scratch: Path, pages: Path) -> str:
    """The fleet's page, which is made in ``pages``, in a browser without a screen at the first edge, and a baresip
    phone at the last one call each other; what that proves. Raises StartError."""
    first, last = fleet["edges"][0], fleet["edges"][-1]
    make_page(SOURCES / "index.html", pages)
    Ladder(fleet["edges"], {"15092": "bob"}, "browser")
    domain = fleet["domain"]
    bob = _baresip(fleet, scratch, "bob", last, 15092, web=True)
    with Browser(scratch / "chromium", Host("127.0.0.1"), Path(fleet["ca"])) as browser:
        try:
            print(f"--- alice's browser registers at {first['id']}, bob at {last['id']}")
            alice = WebPhone(browser, fleet["web_phone"], _account(fleet, "alice"), domain, f"wss://{first['wss']}")
            bob.start()
            _have_registered(bob)
            print("\n--- bob calls alice's browser, bob hangs up")
            bob.command("dial", alice.uri)
            alice.wait("rings")
            alice.do("answer")
            alice.wait("connected")
            alice.hears()
            bob.command("hangup")
            alice.wait("ended")
            print("\n--- alice's browser calls bob, alice hangs up")
            alice.do("call", f"sip:bob@{domain}")
            bob.wait("CALL_INCOMING")
            bob.command("accept")
            alice.wait("connected")
            alice.hears()
            alice.do("hangUp")
            bob.wait("CALL_CLOSED")
            alice.stop()
        finally:
            bob.stop()
    time.sleep(0.3)
    return (
        f"a page with JsSIP in Chromium, registered at {first['id']} over WSS with its certificate checked, and a "
        f"baresip phone at {last['id']} called each other, heard each other (DTLS-SRTP, ICE), and hung up from either "
        f"side.\n\nOpen the page yourself, as alice, while the fleet runs:\n  {alice.url}\n"
        f"Your browser has to trust {fleet['ca']}; or open https://{first['wss']}/ once and accept what it warns of."
    )


def _account(fleet: dict[str, Any], user: str) -> PhoneAccount:
    return next(PhoneAccount(**item) for item in fleet["accounts"] if item["username"] == user)


def _baresip(
    fleet: dict[str, Any], scratch: Path, user: str, edge: dict[str, Any], port: int, web: bool = False
) -> Baresip:
    host = Host("127.0.0.1")
    account = _account(fleet, user)
    return Baresip(
        scratch, account, fleet["domain"], edge["udp"], host, None, port, port + 100, web=web, tone=_TONES[user]
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--browser", action="store_true", help="a browser's page and a phone instead of two phones")
    what.add_argument("--kill", action="store_true", help="kill the edges of a call, one after the other")
    parser.add_argument("--local", type=Path, default=ROOT / ".local", help="where scripts/up has up.json")
    arguments = parser.parse_args()
    path = arguments.local / "up.json"
    if not path.exists():
        print("demo: no fleet is running; start one with scripts/up in another terminal", file=sys.stderr)
        return 1
    fleet = json.loads(path.read_text())
    with tempfile.TemporaryDirectory(prefix="sipwizard-demo-") as scratch:
        try:
            if arguments.kill:
                proved = edges_die(fleet, Path(scratch), path)
            elif arguments.browser:
                proved = browser_calls(fleet, Path(scratch), arguments.local / "web_phone")
            else:
                proved = phones_call(fleet, Path(scratch))
        except StartError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
    print(f"\nProved: {proved}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
