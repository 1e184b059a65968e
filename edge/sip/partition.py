"""Which process of an edge has which flow, where the edge is several.

A source (``flow.source_of``: an IPv4 address, or the first 56 bits of an IPv6 address) is one process's, whatever its
ports: nonces are sealed for it, and what it may cost is counted for it, so neither has to be shared. The kernel
computes the same (``transport/steering``), which is why it is so plain.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from edge.sip.flow import Flow

MULTIPLIER = 0x9E3779B1
"""2³² over the golden ratio: neighbouring addresses are spread evenly by the upper bits of their product."""
SHIFT = 16
CUSTOMER = 0xFFFFFF00
"""What of an IPv6 address's second 32 bits names the customer of a network (RFC 6177)."""
_WORD = 0xFFFFFFFF


class Partition(NamedTuple):
    """``process``, counted from 0, of so many ``processes``."""

    process: int
    processes: int

    def of(self, flow: Flow) -> int:
        """The process that has ``flow``. A connection's number says who has accepted it; where we make a connection, or
        one leads back to ourselves, it is whoever asks."""
        if self.processes == 1 or flow.internal:
            return self.process
        if flow.connection:
            return flow.connection % self.processes
        return self.process if flow.reliable else process_of(flow.host, self.processes)

    def has(self, flow: Flow) -> bool:
        """Whether ``flow`` is this process's."""
        return self.processes == 1 or self.of(flow) == self.process

    def connection(self, random: int) -> int:
        """The number of a connection accepted here, made of 32 random bits; never 0."""
        number = random - random % self.processes + self.process
        return number if 0 < number <= _WORD else self.processes + self.process


WHOLE = Partition(0, 1)
"""An edge of one process."""


@lru_cache(maxsize=4096)
def process_of(host: str, processes: int) -> int:
    """The one of so many ``processes`` that has what comes from IP address ``host`` by UDP, or begins from there."""
    if ":" in host:
        first, second = divmod(int(IPv6Address(host)) >> 64, 1 << 32)
        word = (first * MULTIPLIER & _WORD) + (second & CUSTOMER) & _WORD
    else:
        word = int(IPv4Address(host))
    return ((word * MULTIPLIER & _WORD) >> SHIFT) % processes
