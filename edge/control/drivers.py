"""Moving an edge address to this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from dataclasses import dataclass

log = logging.getLogger(__name__)

_LONGEST = 10.0  # seconds for a driver
_ANNOUNCEMENTS = 3
_ETH_ARP, _ETH_IP = 0x0806, 0x0800
_ALL_NODES = "ff02::1"
_NEIGHBOUR_ADVERTISEMENT, _OVERRIDE, _TARGET_ADDRESS = 136, 0x2000_0000, 2  # RFC 4861 §4.4 and §4.6.1
_MINE_ALONE = 255  # hop limit of what no router has passed on (RFC 4861 §7.1.2)


@dataclass(frozen=True, slots=True)
class Move:
    """An edge address, and the host of this machine that its packets have to come to; the same of its IPv6 side, ""
    where it has none."""

    address: str
    to: str
    address6: str
    to6: str


async def run_hook(command: str, edge: str, epoch: int, move: Move) -> bool:
    """Run the operator's command; whether it confirms. It must exit with 0 only once the packets of both sides come
    here, and what the old machine sends from them is dropped."""
    environment = {
        **os.environ,
        "SIPWIZARD_EDGE": edge,
        "SIPWIZARD_EPOCH": str(epoch),
        "SIPWIZARD_ADDRESS": move.address,
        "SIPWIZARD_TO": move.to,
        "SIPWIZARD_ADDRESS6": move.address6,
        "SIPWIZARD_TO6": move.to6,
    }
    process = await asyncio.create_subprocess_shell(
        command, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), _LONGEST)
    except TimeoutError:
        process.kill()
        await process.wait()
        log.error("takeover_hook: no end after %.0f s; %s hasn't been moved", _LONGEST, move.address)
        return False
    if process.returncode:
        text = said.decode(errors="replace").strip()[-300:]
        log.error("takeover_hook: status %d, %s hasn't been moved: %s", process.returncode, move.address, text)
    return process.returncode == 0


async def add_to_interface(address: str, interface: str) -> bool:
    """Put an IPv4 or IPv6 address on an interface of this machine, and tell the neighbours (gratuitous ARP, RFC 5227
    §3; unsolicited neighbour advertisement, RFC 4861 §7.2.6)."""
    announce = _advertise if ":" in address else _announce
    if not await _ip("replace", address, interface):
        return False
    try:
        for _ in range(_ANNOUNCEMENTS):
            announce(address, interface)
            await asyncio.sleep(0.05)
    except OSError as error:
        log.error("takeover: %s can't be announced on %s: %s", address, interface, error.strerror)
        return False
    return True


async def remove_from_interface(address: str, interface: str) -> None:
    await _ip("del", address, interface)


async def _ip(verb: str, address: str, interface: str) -> bool:
    """An IPv6 address is of use at once, without a search for others that have it, since the one that had it may still
    answer; and nothing else of this machine's goes out from it (``preferred_lft 0``, RFC 6724 §5)."""
    ipv6 = ":" in address
    options = ["nodad", "preferred_lft", "0"] if ipv6 and verb == "replace" else []
    process = await asyncio.create_subprocess_exec(
        "ip", "addr", verb, f"{address}/{128 if ipv6 else 32}", "dev", interface, *options,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    if process.returncode:
        log.error("takeover: ip addr %s %s dev %s: %s", verb, address, interface, said.decode().strip())
    return process.returncode == 0


def _announce(address: str, interface: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_ARP)) as raw:
        raw.bind((interface, 0))
        own = raw.getsockname()[4]
        ip = socket.inet_aton(address)
        everybody = b"\xff" * 6
        arp = struct.pack("!HHBBH", 1, _ETH_IP, 6, 4, 1) + own + ip + bytes(6) + ip
        raw.send(everybody + own + struct.pack("!H", _ETH_ARP) + arp)


def _advertise(address: str, interface: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_ARP)) as raw:
        raw.bind((interface, 0))
        own: bytes = raw.getsockname()[4]
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as icmp:  # the kernel writes checksums
        icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _MINE_ALONE)
        icmp.bind((address, 0, 0, index))
        head = struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE)
        option = struct.pack("!BB", _TARGET_ADDRESS, 1) + own
        icmp.sendto(head + socket.inet_pton(socket.AF_INET6, address) + option, (_ALL_NODES, 0, 0, index))
