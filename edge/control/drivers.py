"""Moving an edge address to this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct

log = logging.getLogger(__name__)

_LONGEST = 10.0  # seconds for a driver
_ANNOUNCEMENTS = 3
_ETH_ARP, _ETH_IP = 0x0806, 0x0800


async def run_hook(command: str, edge: str, address: str, epoch: int, host: str) -> bool:
    """Run the operator's command; whether it confirms. It must exit with 0 only once the address's packets go to
    ``host`` here, and those that the old machine sends from it are dropped."""
    environment = {
        **os.environ,
        "SIPWIZARD_EDGE": edge,
        "SIPWIZARD_ADDRESS": address,
        "SIPWIZARD_EPOCH": str(epoch),
        "SIPWIZARD_TO": host or address,
    }
    process = await asyncio.create_subprocess_shell(
        command, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), _LONGEST)
    except TimeoutError:
        process.kill()
        await process.wait()
        log.error("takeover_hook: no end after %.0f s; %s hasn't been moved", _LONGEST, address)
        return False
    if process.returncode:
        text = said.decode(errors="replace").strip()[-300:]
        log.error("takeover_hook: status %d, %s hasn't been moved: %s", process.returncode, address, text)
    return process.returncode == 0


async def add_to_interface(address: str, interface: str) -> bool:
    """Put the address on an interface of this machine, and tell the neighbours (gratuitous ARP, RFC 5227 §3)."""
    if not await _ip("replace", address, interface):
        return False
    try:
        for _ in range(_ANNOUNCEMENTS):
            _announce(address, interface)
            await asyncio.sleep(0.05)
    except OSError as error:
        log.error("takeover: %s can't be announced on %s: %s", address, interface, error.strerror)
        return False
    return True


async def remove_from_interface(address: str, interface: str) -> None:
    await _ip("del", address, interface)


async def _ip(verb: str, address: str, interface: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        "ip", "addr", verb, f"{address}/32", "dev", interface, stderr=asyncio.subprocess.PIPE
    )
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
