"""Many UDP packets from addresses that the sender doesn't have (raw sockets, ip(7): needs CAP_NET_RAW).

As a program it sends from forged sources until a time is over, and prints what it achieved as JSON:

    python -m tests.support.raw_udp 203.0.113.11 5060 --sources 198.51.100.0/24 --rate 5000 --seconds 10 < payload
"""

from __future__ import annotations

import argparse
import errno
import json
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import cycle, islice

_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_BURST = 0.005  # seconds' worth of packets that are sent without looking at the clock


@dataclass(frozen=True, slots=True)
class Sent:
    """``failed``: packets that the kernel had no room for."""

    packets: int
    failed: int
    seconds: float

    @property
    def rate(self) -> float:
        """Packets a second."""
        return self.packets / self.seconds if self.seconds else 0.0


def datagram(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> bytes:
    """An IPv4 packet (RFC 791, RFC 768). The kernel writes the IP checksum; UDP's 0 says that there is none."""
    size = _IP.size + _UDP.size + len(payload)
    if size > 65_535:
        raise ValueError(f"{len(payload)} octets don't fit into a datagram")
    # Don't fragment isn't set: a raw socket doesn't cut packets up by itself, so they must fit the link's MTU.
    head = _IP.pack(
        0x45, 0, size, 0, 0, 64, socket.IPPROTO_UDP, 0, socket.inet_aton(source[0]), socket.inet_aton(destination[0])
    )
    return head + _UDP.pack(source[1], destination[1], _UDP.size + len(payload), 0) + payload


def sources(network: str, port: int = 5060) -> Iterator[tuple[str, int]]:
    """The hosts of a network, then the same ones with the next port, and so on for ever."""
    hosts = [str(host) for host in IPv4Network(network).hosts()]
    while True:
        for host in hosts:
            yield host, port
        port = port + 1 if port < 65_535 else 1024


def flood(packets: Sequence[bytes], destination: str, rate: float, seconds: float) -> Sent:
    """Send ``packets`` over and over, ``rate`` a second, for so long. Raises PermissionError without CAP_NET_RAW."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
        where, following = (destination, 0), cycle(packets)
        sent = failed = 0
        begun = now = time.monotonic()
        while now - begun < seconds:
            # What is due by now, but no more than a burst: a sender that was held up doesn't make up for it all at once.
            due = min(int((now - begun) * rate) - sent - failed, max(1, int(rate * _BURST)))
            for packet in islice(following, due):
                try:
                    raw.sendto(packet, where)
                    sent += 1
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    failed += 1
            if due <= 0:
                time.sleep(min(_BURST, 1 / rate))
            now = time.monotonic()
        return Sent(sent, failed, now - begun)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.raw_udp", description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--sources", default="198.51.100.0/24", help="a network")
    parser.add_argument("--different", type=int, default=10_000, help="packets made beforehand, each of its own source")
    parser.add_argument("--rate", type=float, default=1000.0, help="packets a second")
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    payload = sys.stdin.buffer.read()
    to = (options.host, options.port)
    packets = [datagram(source, to, payload) for source in islice(sources(options.sources), options.different)]
    done = flood(packets, options.host, options.rate, options.seconds)
    print(json.dumps({"packets": done.packets, "failed": done.failed, "rate": round(done.rate)}))


if __name__ == "__main__":
    main()
