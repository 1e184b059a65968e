"""A NAT laboratory of network namespaces: phones behind nftables masquerades at two homes, two edges, a control plane, a
caller.

    phone  10.77.0.2 --- nat (10.77.0.1 | 203.0.113.10) ---+--- edge-a  203.0.113.11
    phone2 10.77.0.3 --/                                    |--- edge-b  203.0.113.12
    phone3 10.78.0.2 -- nat2 (10.78.0.1 | 203.0.113.13) ---+--- control 203.0.113.30
                                                   (bridge) '--- caller  203.0.113.20

Filtering is endpoint-dependent: from outside only packets of an existing conntrack entry pass; the others are dropped
and counted. UDP entries live 20 s, and 30 s once they count as a stream.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Self

from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import DevelopmentEdge, Host
from scripts.processes import Processes

WAN = "203.0.113"
WAN6, LAN6, _TAYGA6 = "2001:db8", "2001:db8:64", "2001:db8:65"
_PREFIX64, _POOL = "2001:db8:46", "192.168.255"  # the well-known prefix is for public addresses only
_OUTSIDE = {"nat": 10, "edge-a": 11, "edge-b": 12, "nat2": 13, "caller": 20, "control": 30}
_HOMES = {"nat": ("10.77.0", {"phone": 2, "phone2": 3}), "nat2": ("10.78.0", {"phone3": 2})}
_INSIDE = {phone: (lan, last) for lan, phones in _HOMES.values() for phone, last in phones.items()}
_NAMES = Path("/etc/netns")  # what ip-netns(8) puts over /etc

_RULES = """
table ip natlab {{
  counter dropped_in {{ }}
  counter dropped_forward {{ }}
  chain outgoing {{ type nat hook postrouting priority 100; oifname "wan" {masquerade}; }}
  chain forwarding {{ type filter hook forward priority 0; policy drop;
    iifname "lan" accept
    ct state established,related accept
    counter name dropped_forward drop; }}
  chain incoming {{ type filter hook input priority 0; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" counter name dropped_in drop; }}
}}
"""


def why_not() -> str:
    """Why no laboratory can be built here; "" if one can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "nft", "conntrack", "tayga"):
        if shutil.which(program) is None:
            return f"{program} isn't installed"
    name = f"sw{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces can't be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=False)
    return ""


def _run(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def ipv6_of(host: Host) -> str:
    """The IPv6 address that a host outside has beside its own."""
    return f"{WAN6}::{host.address.rpartition('.')[2]}"


@dataclass
class NatLab:
    """``symmetric``: the first home's NAT takes a new public port for each destination; the second one's always does."""

    symmetric: bool = False
    prefix: str = field(default_factory=lambda: f"sw{secrets.token_hex(3)}-")

    def ns(self, name: str) -> str:
        return self.prefix + name

    def host(self, name: str) -> Host:
        net, last = (WAN, _OUTSIDE[name]) if name in _OUTSIDE else _INSIDE[name]
        return Host(f"{net}.{last}", self.ns(name))

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("switch", *_INSIDE, *_OUTSIDE):
            subprocess.run(["ip", "netns", "delete", self.ns(name)], capture_output=True, check=False)
            shutil.rmtree(_NAMES / self.ns(name), ignore_errors=True)

    def _build(self) -> None:
        for name in ("switch", *_OUTSIDE, *_INSIDE):
            _run("ip", "netns", "add", self.ns(name))
            _run("ip", "-n", self.ns(name), "link", "set", "lo", "up")
        self._bridge("switch", "br0")
        for name, last in _OUTSIDE.items():
            self._cable(name, "wan", f"{WAN}.{last}/24", "switch", "br0")
        self._inside()

    def _inside(self) -> None:
        """The NATs and the phones behind them."""
        for nat, (lan, phones) in _HOMES.items():
            self._bridge(nat, "lan")
            for name, last in phones.items():
                self._cable(name, "eth0", f"{lan}.{last}/24", nat, "lan")
                self.link_up(name)
            _run("ip", "-n", self.ns(nat), "addr", "add", f"{lan}.1/24", "dev", "lan")
            masquerade = "masquerade fully-random" if self.symmetric or nat == "nat2" else "masquerade"
            self.run(nat, "nft", "-f", "-", text=_RULES.format(masquerade=masquerade))
            for setting in (
                "net.ipv4.ip_forward=1",
                "net.netfilter.nf_conntrack_udp_timeout=20",
                "net.netfilter.nf_conntrack_udp_timeout_stream=30",
            ):
                self.run(nat, "sysctl", "-qw", setting)

    def _bridge(self, name: str, device: str) -> None:
        _run("ip", "-n", self.ns(name), "link", "add", device, "type", "bridge")
        _run("ip", "-n", self.ns(name), "link", "set", device, "up")

    def _cable(self, name: str, device: str, address: str, switch: str, bridge: str) -> None:
        port = f"p-{name}"
        _run(
            "ip",
            "-n",
            self.ns(switch),
            "link",
            "add",
            port,
            "type",
            "veth",
            "peer",
            "name",
            device,
            "netns",
            self.ns(name),
        )
        _run("ip", "-n", self.ns(name), "addr", "add", address, "dev", device)
        _run("ip", "-n", self.ns(name), "link", "set", device, "up")
        _run("ip", "-n", self.ns(switch), "link", "set", port, "master", bridge, "up")

    def add_ipv6(self) -> None:
        """Each host outside gets an IPv6 address besides; who is behind the NAT gets none."""
        for name in _OUTSIDE:
            _run("ip", "-n", self.ns(name), "addr", "add", f"{ipv6_of(self.host(name))}/64", "dev", "wan", "nodad")

    def run(self, name: str, *command: str, text: str | None = None) -> str:
        """Run a command inside; its output."""
        return _run("ip", "netns", "exec", self.ns(name), *command, text=text)

    def dropped(self) -> int:
        """Packets that the first home's NAT has refused from outside."""
        return self._counter("nat", "")

    def _counter(self, name: str, counter: str) -> int:
        """The packets that a namespace's counter, or all of them, have counted."""
        ruleset = json.loads(self.run(name, "nft", "-j", "list", "counters"))["nftables"]
        found = [item["counter"] for item in ruleset if "counter" in item]
        return sum(item["packets"] for item in found if counter in ("", item["name"]))

    def link_up(self, inside: str) -> None:
        """Plug a phone in: its default route has gone with its link."""
        _run("ip", "-n", self.ns(inside), "link", "set", "eth0", "up")
        _run("ip", "-n", self.ns(inside), "route", "replace", "default", "via", f"{_INSIDE[inside][0]}.1")

    def mappings(self) -> list[str]:
        """The first home's NAT's UDP entries, as conntrack prints them."""
        return self.run("nat", "conntrack", "-L", "-p", "udp").splitlines()

    def public_port(self, inside: str, edge: str) -> int:
        """The outside port that ``inside``'s packets to ``edge`` have now."""
        for line in self.mappings():
            if f"src={self.host(inside).address} dst={self.host(edge).address}" in line:
                return int(re.findall(r"dport=(\d+)", line)[1])
        raise LookupError(f"the NAT has no mapping from {inside} to {edge}: {self.mappings()}")

    def name(self, addresses: Mapping[str, str]) -> None:
        """Have programs in the laboratory know hosts by name."""
        lines = "".join(f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **addresses}.items())
        for name in ("switch", *_INSIDE, *_OUTSIDE):
            directory = _NAMES / self.ns(name)
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "hosts").write_text(lines)
            (directory / "resolv.conf").write_text("")

    def fleet(self, directory: Path) -> DevelopmentFleet:
        """A fleet in this laboratory, not yet started."""
        edges = [DevelopmentEdge(name, self.host(name)) for name in ("edge-a", "edge-b")]
        return DevelopmentFleet(directory, self.host("control"), edges)


_TAYGA = """
tun-device nat64
ipv4-addr {pool}.1
ipv6-addr {own}::1
prefix {prefix}::/96
dynamic-pool {pool}.0/24
data-dir {directory}
"""


class Nat64:
    """A NAT64 (RFC 6146) on the laboratory's NAT: ``phone``, one of those behind it, has IPv6 only, and reaches IPv4
    hosts by addresses that have theirs in them (RFC 6052). Tayga translates without state, the NAT masquerades that."""

    def __init__(self, lab: NatLab, directory: Path) -> None:
        self._lab = lab
        self._directory = directory
        self._processes = Processes(directory)
        self.phone = Host(f"{LAN6}::3", lab.ns("phone2"))

    def mapped(self, address: str) -> str:
        """An IPv4 address as the phone reaches it."""
        return str(IPv6Address(int(IPv6Address(f"{_PREFIX64}::")) | int(IPv4Address(address))))

    def __enter__(self) -> Self:
        lab, box = self._lab, self._lab.ns("nat")
        lab.run("phone2", "ip", "addr", "flush", "dev", "eth0", "scope", "global")
        lab.run("phone2", "ip", "addr", "add", f"{self.phone.address}/64", "dev", "eth0", "nodad")
        _run("ip", "-n", box, "addr", "add", f"{LAN6}::1/64", "dev", "lan", "nodad")
        lab.run("phone2", "ip", "-6", "route", "replace", "default", "via", f"{LAN6}::1")
        config = self._directory / "tayga.conf"
        config.write_text(_TAYGA.format(pool=_POOL, own=_TAYGA6, prefix=_PREFIX64, directory=self._directory))
        lab.run("nat", "tayga", "--config", str(config), "--mktun")
        _run("ip", "-n", box, "link", "set", "nat64", "up")
        _run("ip", "-n", box, "route", "add", f"{_POOL}.0/24", "dev", "nat64")
        _run("ip", "-n", box, "route", "add", f"{_PREFIX64}::/96", "dev", "nat64")
        lab.run("nat", "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        lab.run("nat", "nft", "insert", "rule", "ip", "natlab", "forwarding", "iifname", "nat64", "accept")
        self._processes.start("tayga", ["tayga", "--config", str(config), "--nodetach"], {}, box)
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.stop_all()
