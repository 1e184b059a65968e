"""``scripts/siege``: what strangers' requests, from sources that they don't have, cost an edge, and whether phones that
are known notice. In a laboratory of namespaces; needs root."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DOMAIN, ROOT, SIP
from tests.support.natlab import NatLab
from tests.support.raw_udp import datagram, flood, sources
from tests.support.socket_phone import SocketPhone, call, in_dialog

FORGED = "198.18.0.0/15"  # RFC 2544's
MOST_GROWTH = 10.0
"""MB that the edge may grow by, however many requests come."""
_HEADERS = 28  # octets of IPv4 and UDP
_ANSWERS = f"""
table ip siege {{
  counter answers {{ }}
  chain incoming {{ type filter hook prerouting priority -300; udp sport {SIP} counter name answers drop; }}
}}
"""
_AWAY, _US = "sip:eve@elsewhere.example", f"sip:alice@{DOMAIN}"
_KINDS = (
    ("REGISTER", f"sip:{DOMAIN}", _US, ""),
    ("INVITE", f"sip:bob@{DOMAIN}", _US, ""),
    ("INVITE", f"sip:bob@{DOMAIN}", _AWAY, ""),
    ("OPTIONS", f"sip:{DOMAIN}", _AWAY, ""),
    ("MESSAGE", f"sip:bob@{DOMAIN}", _AWAY, ""),
    ("INVITE", "tel:+4930123456", _AWAY, ""),
    ("INVITE", f"sip:bob@{DOMAIN}", _AWAY, ";tag=t"),
    ("BYE", f"sip:bob@{DOMAIN}", _AWAY, ";tag=t"),
    ("CANCEL", f"sip:bob@{DOMAIN}", _AWAY, ""),
    ("REGISTER", "sip:elsewhere.example", _AWAY, ""),
)


def request(number: int) -> bytes:
    """One of many, all different."""
    method, uri, sender, tag = _KINDS[number % len(_KINDS)]
    lines = (
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP 10.1.2.3:5060;branch=z9hG4bKsiege{number}",
        "Max-Forwards: 70",
        f"From: <{sender}>;tag=f{number}",
        f"To: <{uri}>{tag}",
        f"Call-ID: siege{number}@10.1.2.3",
        f"CSeq: 1 {method}",
        "Contact: <sip:eve@10.1.2.3:5060>",
        "User-Agent: Somebody 1.0",
        "Content-Length: 0",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass(frozen=True, slots=True)
class Flood:
    """Packets and octets of SIP that were sent, and those of all packets that came back."""

    packets: int
    octets: int
    answers: int
    answered: int
    seconds: float


class Siege:
    """An edge of a fleet, and who besieges it: from ``caller``'s network, by which everything leaves that has no other
    way, so answers to forged sources are seen there."""

    def __init__(self, lab: NatLab, fleet: DevelopmentFleet) -> None:
        self._lab = lab
        self._fleet = fleet
        self.edge = fleet.edges[0]
        self._pid = fleet.processes.pid(self.edge.id)
        lab.run("edge-a", "ip", "route", "add", "default", "via", lab.host("caller").address)
        for where in ("all", "wan"):
            lab.run("edge-a", "sysctl", "-qw", f"net.ipv4.conf.{where}.rp_filter=0")
        lab.run("caller", "nft", "-f", "-", text=_ANSWERS)
        self.phones = [self._phone(user, place) for user, place in (("alice", "phone"), ("bob", "phone2"))]

    def _phone(self, user: str, place: str) -> SocketPhone:
        return SocketPhone(self._fleet.accounts[user], DOMAIN, self._lab.host(place), (self.edge.address, SIP))

    # The flood

    def begin(self, rate: float, seconds: float, number: int = 0) -> Callable[[], Flood]:
        """Send ``rate`` requests a second for so long; gives what waits for their end. ``number`` is the first's."""
        before, begun = self._received(), time.monotonic()
        command = [sys.executable, "-m", "scripts.siege", "send", self.edge.address]
        command += ["--rate", str(rate), "--seconds", str(seconds), "--first", str(number)]
        sender = subprocess.Popen(
            ["ip", "netns", "exec", self._lab.ns("caller"), *command], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

        def end() -> Flood:
            out, _ = sender.communicate()
            sent = json.loads(out)
            time.sleep(0.2)  # the last answers
            packets, octets = (now - then for now, then in zip(self._received(), before, strict=True))
            return Flood(sent["packets"], sent["octets"], packets, octets, time.monotonic() - begun)

        return end

    def _received(self) -> tuple[int, int]:
        """Packets and octets that have come to the besieger's network, IP and UDP headers included."""
        ruleset = json.loads(self._lab.run("caller", "nft", "-j", "list", "counters"))["nftables"]
        (counter,) = (item["counter"] for item in ruleset if "counter" in item)
        return counter["packets"], counter["bytes"]

    # What it costs

    def memory(self) -> float:
        """Of the edge's process, in MB."""
        text = Path(f"/proc/{self._pid}/smaps_rollup").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) / 1024

    def spent(self) -> float:
        """Seconds of CPU of the edge's process."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def counted(self) -> dict[str, float]:
        return self._fleet.client.events(self.edge)

    def epochs(self) -> Any:
        return self._fleet.client.health(self.edge)["addresses"]

    # What phones notice

    def refreshes(self, seconds: float) -> list[float]:
        """How long each of alice's registrations takes, one after the other, for so long. Raises if one fails."""
        taken = []
        alice, end = self.phones[0], time.monotonic() + seconds
        while time.monotonic() < end:
            begun = time.monotonic()
            alice.agent.received.clear()
            status = alice.register()
            if status != 200:
                raise RuntimeError(f"a phone that is known was answered {status}")
            taken.append(time.monotonic() - begun)
        return taken

    def calls(self, seconds: float) -> int:
        """How many calls alice and bob make, one after the other, for so long. Raises if one fails."""
        alice, bob = self.phones
        made, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            dialog, _ = call(alice, bob, f"sip:bob@{DOMAIN}")
            in_dialog(alice, dialog, "BYE", bob)
            made += 1
        return made


@contextmanager
def besieged() -> Iterator[Siege]:
    """A fleet in a laboratory, with two phones registered."""
    with NatLab() as lab, tempfile.TemporaryDirectory() as directory:
        fleet = lab.fleet(Path(directory))
        try:
            fleet.start()
            siege = Siege(lab, fleet)
            for phone in siege.phones:
                if phone.register() != 200:
                    raise RuntimeError("a phone can't register before the siege has begun")
            yield siege
            for phone in siege.phones:
                phone.socket.close()
        finally:
            fleet.stop()


def p99(taken: list[float]) -> float:
    return sorted(taken)[int(len(taken) * 0.99)]


app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    requests: Annotated[int, typer.Option(help="Requests of forged sources for the memory's sake.")] = 1_000_000,
    rate: Annotated[float, typer.Option(help="Requests a second, for those and for the last case.")] = 8000.0,
    seconds: Annotated[float, typer.Option(help="How long each other case takes.")] = 20.0,
) -> None:
    """Memory and questions; the capacity; phones at half of it, and at a rate past it."""
    if context.invoked_subcommand is not None:
        return
    with besieged() as siege:
        failed = not all([memory(siege, requests, rate), half(siege, seconds), beyond(siege, rate, seconds)])
    raise SystemExit(failed)


@app.command()
def send(
    address: str,
    rate: Annotated[float, typer.Option()] = 1000.0,
    seconds: Annotated[float, typer.Option()] = 1.0,
    first: Annotated[int, typer.Option()] = 0,
) -> None:
    """Send from where this runs; what was sent, as JSON. (The siege does this by itself.)"""
    numbers = range(first, first + min(int(rate * seconds) + 1, 200_000))
    payloads = [request(number) for number in numbers]
    where = islice(sources(FORGED), first % 100_000, None)
    packets = [datagram(source, (address, SIP), payload) for source, payload in zip(where, payloads, strict=False)]
    done = flood(packets, address, rate, seconds)
    octets = sum(len(payload) for payload in islice(cycle(payloads), done.packets))
    print(json.dumps({"packets": done.packets, "octets": octets}))


def say(case: str, value: float, unit: str, good: bool = True, **more: Any) -> bool:
    """Print a figure; whether it is as it has to be."""
    print(json.dumps({"case": case, "value": round(value, 4), "unit": unit, "good": good, **more}), flush=True)
    return good


def memory(siege: Siege, requests: int, rate: float) -> bool:
    """What so many requests of forged sources leave behind, and what comes back."""
    seconds = requests / rate
    warm = min(5.0, seconds / 4)
    siege.begin(rate, warm)()  # what a first flood makes the process take once, it keeps
    before, counted = siege.memory(), siege.counted()
    done = siege.begin(rate, seconds, number=1_000_000)()
    grown, now = siege.memory() - before, siege.counted()
    shed = sum(now.get(kind, 0) - counted.get(kind, 0) for kind in ("shed", "slowed"))
    asked = now.get("questions", 0) - counted.get("questions", 0)
    factor = (done.answered - _HEADERS * done.answers) / max(1, done.octets * done.answers / max(1, done.packets))
    return all(
        (
            say("siege memory", grown, "MB", grown <= MOST_GROWTH, requests=done.packets, shed=shed),
            say("siege questions", asked, "questions", asked == 0),
            say("siege answers", done.answers / max(1, done.packets), "for each request", done.answers <= done.packets),
            say("siege amplification", factor, "octets for each octet that is answered", factor <= 3),
        )
    )


def capacity(siege: Siege) -> float:
    """Requests of strangers a second that would take one core whole, by the CPU time that some take."""
    begun = siege.spent()
    done = siege.begin(2000, 5.0, number=3_000_000)()
    return done.packets / (siege.spent() - begun)


def half(siege: Siege, seconds: float) -> bool:
    """Known phones while strangers take half of what the edge can do: at most twice as long, all but one in a
    hundred."""
    most = capacity(siege)
    say("siege capacity", most, "requests a second")
    quiet = siege.refreshes(seconds)
    end = siege.begin(most / 2, seconds + 2, number=4_000_000)
    time.sleep(1)
    loud = siege.refreshes(seconds)
    end()
    factor = p99(loud) / p99(quiet)
    return say(
        "siege p99", factor, "times", factor <= 2,
        quiet_ms=round(p99(quiet) * 1000, 2), loud_ms=round(p99(loud) * 1000, 2), samples=len(loud),
    )  # fmt: skip


def beyond(siege: Siege, rate: float, seconds: float) -> bool:
    """Registrations and calls of known phones at a rate that strangers can't be served at; and the lease."""
    epochs, counted = siege.epochs(), siege.counted()
    end = siege.begin(rate, 2 * seconds + 2, number=5_000_000)
    time.sleep(1)
    refreshed, called = len(siege.refreshes(seconds)), siege.calls(seconds)
    done = end()
    now = siege.counted()
    kept = siege.epochs() == epochs
    return all(
        (
            say("siege beyond", done.packets / (2 * seconds + 2), "requests a second", registrations=refreshed,
                calls=called, shed=now.get("shed", 0) - counted.get("shed", 0)),
            say("siege lease", float(kept), "kept", kept),
        )
    )  # fmt: skip


if __name__ == "__main__":
    app()
