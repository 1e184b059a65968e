"""Which edge address registers with a provider: the rules of assigning, claiming and reassigning.

An assignment never runs out. Before its first REGISTER in an epoch the address's holder claims it for that epoch; only
whoever has claimed it may give it to another address. So a holder of an earlier epoch, or one that the account was
taken from, can't claim it any more, and claims are as exclusive as the leases that they rest on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lambdas.decisions.lease import Refused

NOBODY = "nobody"
"""The address of accounts that were made while no edge lived."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """``claimed`` is the epoch of ``address``'s lease for which it was claimed last, 0 if it wasn't; ``ports`` maps
    transports to the address's ports, as that holder has told."""

    provider: str
    address: str
    claimed: int = 0
    ports: Mapping[str, int] | None = None


def claim(old: Assignment | None, address: str, epoch: int, ports: Mapping[str, int]) -> Assignment | Refused:
    """The holder of ``address`` in ``epoch`` is about to register."""
    if old is None:
        return Refused("there is no such assignment")
    if old.address != address:
        return Refused(f"{old.provider} is assigned to {old.address}")
    if old.claimed > epoch:
        return Refused(f"{old.provider} was claimed in the later epoch {old.claimed}")
    return replace(old, claimed=epoch, ports=dict(ports))


def reassign(old: Assignment | None, address: str, epoch: int, to: str) -> Assignment | Refused:
    """Whoever has claimed it in ``epoch`` of ``address`` gives it to ``to``."""
    if old is None or old.address != address or old.claimed != epoch:
        return Refused(f"it isn't claimed by {address} in epoch {epoch}")
    return Assignment(old.provider, to)
