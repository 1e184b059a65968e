"""The NAT laboratory with a cloud in it: edges have private addresses behind a router that maps each edge address (a
floating IP) to one of them, statelessly, and drops what a machine sends from an address it doesn't have any more.

    nat, caller, control --- (203.0.113.1) router (10.9.N.1) --- edge N: 10.9.N.2 home, 10.9.N.3 spare, 10.9.N.9 itself
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.fleet import DevelopmentFleet
from scripts.fleet_parts import MESH, METRICS, SIP, DevelopmentEdge, Host
from tests.support.natlab import _INSIDE, _OUTSIDE, WAN, NatLab, _run

_CLOUD = """
table ip cloud {{
  map there {{ type ipv4_addr : ipv4_addr; elements = {{ {there} }}; }}
  map back {{ type ipv4_addr : ipv4_addr; elements = {{ {back} }}; }}
  set machines {{ type ipv4_addr; elements = {{ {machines} }}; }}
  set mapped {{ type ipv4_addr; elements = {{ {mapped} }}; }}
  counter fenced {{ }}
  chain arriving {{ type filter hook prerouting priority raw; policy accept;
    ip saddr @machines ip saddr != @mapped counter name fenced drop
    ip daddr set ip daddr map @there; }}
  chain leaving {{ type filter hook postrouting priority raw; policy accept;
    ip saddr set ip saddr map @back; }}

}}
"""

_HOOK = """#!/bin/sh
# The cloud: move $SIPWIZARD_ADDRESS to $SIPWIZARD_TO, fence the machine that had it, and confirm. Never go back to an older epoch.
exec 9>{directory}/lock
flock 9
state={directory}/$SIPWIZARD_ADDRESS
read -r old epoch < "$state"
[ "$SIPWIZARD_EPOCH" -ge "$epoch" ] || {{ echo "epoch $SIPWIZARD_EPOCH is older than $epoch" >&2; exit 1; }}
if [ "$old" != "$SIPWIZARD_TO" ]; then
  ip netns exec {router} nft -f - <<RULES || exit 1
delete element ip cloud there {{ $SIPWIZARD_ADDRESS : $old }}
delete element ip cloud back {{ $old : $SIPWIZARD_ADDRESS }}
delete element ip cloud mapped {{ $old }}
add element ip cloud there {{ $SIPWIZARD_ADDRESS : $SIPWIZARD_TO }}
add element ip cloud back {{ $SIPWIZARD_TO : $SIPWIZARD_ADDRESS }}
add element ip cloud mapped {{ $SIPWIZARD_TO }}
RULES
fi
echo "$SIPWIZARD_TO $SIPWIZARD_EPOCH" > "$state"
"""


@dataclass
class CloudLab(NatLab):
    """``names`` are the edges; their addresses are 203.0.113.11, .12, …"""

    names: tuple[str, ...] = field(default=("edge-a", "edge-b"))

    def address(self, name: str) -> str:
        return f"{WAN}.{11 + self.names.index(name)}"

    def private(self, name: str, last: int) -> str:
        return f"10.9.{1 + self.names.index(name)}.{last}"

    def host(self, name: str) -> Host:
        """Where an edge's own traffic (mesh, metrics, control) goes; its SIP is at ``address``."""
        if name in self.names:
            return Host(self.private(name, 9), self.ns(name))
        return super().host(name)

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", self.ns(name)], capture_output=True, check=False)
        super().__exit__()

    def _outside(self) -> dict[str, int]:
        return {name: last for name, last in _OUTSIDE.items() if not name.startswith("edge")}

    def _build(self) -> None:
        for name in ("switch", *self._outside(), *_INSIDE, *self.names):
            _run("ip", "netns", "add", self.ns(name))
            _run("ip", "-n", self.ns(name), "link", "set", "lo", "up")
        self._bridge("switch", "br0")
        _run("ip", "-n", self.ns("switch"), "addr", "add", f"{WAN}.1/24", "dev", "br0")
        self.run("switch", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
        for name, last in self._outside().items():
            self._cable(name, "wan", f"{WAN}.{last}/24", "switch", "br0")
            for edge in self.names:
                _run("ip", "-n", self.ns(name), "route", "add", f"{self.address(edge)}/32", "via", f"{WAN}.1")
            _run("ip", "-n", self.ns(name), "route", "add", "10.9.0.0/16", "via", f"{WAN}.1")
        self._inside()
        for name in self.names:
            self._machine(name)
        pairs = [(self.address(name), self.private(name, 2)) for name in self.names]
        rules = _CLOUD.format(
            there=", ".join(f"{address} : {private}" for address, private in pairs),
            back=", ".join(f"{private} : {address}" for address, private in pairs),
            machines=", ".join(self.private(name, last) for name in self.names for last in (2, 3)),
            mapped=", ".join(private for _, private in pairs),
        )
        self.run("switch", "nft", "-f", "-", text=rules)

    def _machine(self, name: str) -> None:
        device = f"to-{name}"
        router, machine = self.ns("switch"), self.ns(name)
        _run("ip", "-n", router, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", machine)
        _run("ip", "-n", router, "addr", "add", f"{self.private(name, 1)}/24", "dev", device)
        _run("ip", "-n", router, "link", "set", device, "up")
        for last in (9, 2, 3):
            _run("ip", "-n", machine, "addr", "add", f"{self.private(name, last)}/24", "dev", "eth0")
        _run("ip", "-n", machine, "link", "set", "eth0", "up")
        _run("ip", "-n", machine, "route", "add", "default", "via", self.private(name, 1), "src", self.private(name, 9))

    def fenced(self) -> int:
        """Packets dropped because their machine has lost the address."""
        return self._counter("switch", "fenced")

    def fleet(self, directory: Path, environment: Mapping[str, str] | None = None) -> DevelopmentFleet:
        places = directory / "cloud"
        places.mkdir(parents=True)
        hook = places / "hook"
        hook.write_text(_HOOK.format(directory=places, router=self.ns("switch")))
        hook.chmod(0o755)
        everything = [self.address(name) for name in self.names]
        edges = []
        for name in self.names:
            home, spare = self.private(name, 2), self.private(name, 3)
            (places / self.address(name)).write_text(f"{home} 0\n")
            settings = {
                "address": self.address(name),
                "listen": [f"udp://{home}:{SIP}", f"tcp://{home}:{SIP}"],
                "spare_listen": [f"udp://{spare}:{SIP}", f"tcp://{spare}:{SIP}"],
                "mesh": f"{self.private(name, 9)}:{MESH}",
                "metrics": f"{self.private(name, 9)}:{METRICS}",
                "takeover": "hook",
                "takeover_hook": str(hook),
            }
            edges.append(DevelopmentEdge(name, self.host(name), settings, everything))
        return DevelopmentFleet(directory, self.host("control"), edges, environment=environment)
