"""Which edge addresses this edge holds, asks for, and may use: the holder's side of the leases, without I/O.

Times are monotonic seconds. A lease lasts here from the *sending* of the heartbeat that renewed it, less a margin for
clocks that run at different rates; the control plane counts from when that heartbeat arrived. So it ends here first.

Theory of operation. Having a lease and having the address's packets are two things. An edge asks for an address in a
heartbeat (``asks``) and gets a lease with an epoch (``learn``); the address then has to be moved here: by the control
plane (driver "ec2"), or by this machine (``Place``, for "hook" and "l2", tried again until it works or somebody else
shall try). Once it is here it is ``Gained``, and served. It is ``Lost`` when the control plane or a peer with a
higher epoch says that somebody else has it. What keeps two edges from serving one address at once depends on what it
fences:

- packets of phones go where the IP is, so with "ec2" and "hook" the IP's place is the fence, and an edge that can't
  renew its lease goes on serving, even started anew in the dark (``resume``). With "l2" nothing tells the two apart
  but the deadline: past it the address is given up (``due``, ``until``);
- REGISTERs to providers are fenced by nothing outside, so they go out only between ``exclusive_at``, when no lease of
  before can last any longer, and the deadline.

An address is asked for if it is the edge's own, if its holder hands it over (with a consent that stands for a while),
or if its holder is neither linked nor renews: the control plane decides whether that is so. One at a time, so that
several survivors get some each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from lambdas.contract import EdgePlace, HeartbeatReply, Take

CONSENT = 12.0  # seconds for which an offer stands; the holder waits a little longer
MARGIN = 1.0  # seconds that a lease ends earlier here
_RETRY = 1.0  # seconds between attempts to move an address here
_GIVE_UP = 15.0  # seconds of attempts, after which somebody else shall try
_REST = 30.0  # seconds for which it isn't asked for again then

Driver = Literal["none", "hook", "ec2", "l2"]


@dataclass(slots=True)
class Holding:
    """``deadline``: until when the lease surely lasts. ``exclusive_at``: from when no earlier one does. ``placed``: the
    address's packets arrive here, at ``host`` ("" for the address itself)."""

    epoch: int
    host: str
    deadline: float
    exclusive_at: float
    placed: bool
    since: float
    tried_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Place:
    """Have the driver move the address here, with its IPv6 side ("": it has none), then tell ``placed``."""

    address: str
    epoch: int
    host: str
    address6: str = ""


@dataclass(frozen=True, slots=True)
class Gained:
    """The address's packets arrive here now."""

    address: str
    epoch: int
    host: str
    address6: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """The address isn't ours any more."""

    address: str
    why: str
    address6: str = ""


AddressStep = Place | Gained | Lost


@dataclass(frozen=True, slots=True)
class Asks:
    """What goes into a heartbeat."""

    addresses: list[str]
    takes: list[Take]
    placed: list[str]
    releases: list[str]
    hosts: dict[str, str]


class Holdings:
    """``home`` is the address in the configuration. Others arrive at a free one of ``spares`` each, or, where there are
    none, under their own name."""

    def __init__(self, home: str, home_host: str, driver: Driver, spares: Sequence[str]) -> None:
        self.home = home
        self.driver: Driver = driver
        self._home_host = home_host
        self._spares = list(spares)
        self._held: dict[str, Holding] = {}
        self._holders: dict[str, tuple[str, int]] = {}
        self._allowed: Collection[str] = ()
        self._sides: dict[str, str] = {}
        self._consents: dict[str, tuple[int, str, float]] = {}
        self._resting: dict[str, float] = {}
        self._releases: set[str] = set()
        self._hosts: dict[str, str] = {}
        self._leaving = False

    def leave(self, leaving: bool) -> None:
        """Whether this edge is being drained: it asks for no address then."""
        self._leaving = leaving

    # What to ask

    def asks(self, linked: Collection[str], now: float) -> Asks:
        """What the next heartbeat says; ``linked`` are the edges with a working mesh link."""
        takes = self._takes(linked, now)
        addresses = [address for address in self._held if address not in self._releases]
        taken = {take.address for take in takes}
        if not self._leaving and self.home not in self._held and self.home not in taken:
            addresses.append(self.home)
        self._hosts = {address: held.host for address, held in self._held.items()}
        for address in [*addresses, *taken]:
            if address not in self._hosts:
                self._hosts[address] = self._free_host(address) or ""
        return Asks(
            addresses=addresses,
            takes=takes,
            placed=[address for address, held in self._held.items() if held.placed],
            releases=sorted(self._releases),
            hosts={address: host or address for address, host in self._hosts.items()},
        )

    def hurried(self, linked: Collection[str], now: float) -> bool:
        """Whether the next heartbeat shouldn't wait: an address may be had, or has to be moved."""
        moving = any(not held.placed for held in self._held.values())
        return bool(moving or self._releases or self._takes(linked, now))

    def _takes(self, linked: Collection[str], now: float) -> list[Take]:
        if self.driver == "none" or self._leaving:
            return []
        for address, (epoch, consent, until) in self._consents.items():
            if address not in self._held and now < until:
                return [Take(address=address, epoch=epoch, consent=consent)]
        for address in self._allowed:
            holder = self._holders.get(address)
            if holder is None or address in self._held or self._resting.get(address, now) > now:
                continue
            edge, epoch = holder
            if edge not in linked and self._free_host(address) is not None:
                # One at a time: with several survivors each gets some.
                return [Take(address=address, epoch=epoch, link_dead=True)]
        return []

    def _free_host(self, address: str) -> str | None:
        """Where ``address`` would arrive: a host, "" for under its own name, None if there is no room."""
        if address == self.home:
            return self._home_host
        if not self._spares:
            return ""
        used = {held.host for held in self._held.values()}
        return next((host for host in self._spares if host not in used), None)

    def release(self, address: str) -> None:
        """Give an address up with the next heartbeat."""
        if address in self._held:
            self._releases.add(address)

    def offered(self, address: str, epoch: int, consent: str, now: float) -> str:
        """The holder hands ``address`` over; why it can't be taken, "" if it can."""
        if self.driver == "none":
            return "no driver moves addresses here"
        if self._leaving:
            return "this edge is being drained itself"
        if address not in self._allowed:
            return "this edge is not registered for it; see /v1/edges"
        if self._free_host(address) is None:
            return "no spare_listen is free"
        # The holder waits no longer either; after that it goes on with the address itself.
        self._consents = {address: (epoch, consent, now + CONSENT)}
        return ""

    # What came of it

    def learn(self, reply: HeartbeatReply, sent_at: float, now: float) -> list[AddressStep]:
        """A heartbeat was answered; it had left at ``sent_at``."""
        steps: list[AddressStep] = []
        self._allowed = reply.allowed
        self._learn_sides(reply.places)
        self._holders.update((address, ("", epoch)) for address, epoch in reply.unheld.items())
        for edge in reply.fleet:
            self._holders.update((held.address, (edge.id, held.epoch)) for held in edge.held)
        told = {held.address: held for held in reply.held}
        for address in [address for address in self._held if address not in told]:
            del self._held[address]
            steps.append(self._lost(address, reply.refused.get(address, "it was given up")))
        self._releases &= self._held.keys()
        for address in reply.refused:
            self._consents.pop(address, None)
        for address, lease in told.items():
            deadline = sent_at + lease.seconds - MARGIN
            held = self._held.get(address)
            if held is not None and held.epoch == lease.epoch:
                held.deadline = max(held.deadline, deadline)
                if lease.placed and not held.placed and self.driver != "l2":
                    held.placed = True
                    steps.append(self._gained(address, held.epoch, held.host))
                continue
            placed = lease.placed and self.driver != "l2"
            host = held.host if held is not None else self._hosts.get(address, "")
            self._held[address] = Holding(lease.epoch, host, deadline, now + lease.exclusive_in, placed, now)
            self._consents.pop(address, None)
            if placed:
                steps.append(self._gained(address, lease.epoch, host))
        return steps + self.due(now)

    def due(self, now: float) -> list[AddressStep]:
        """What has to be done by now: addresses to move here, and those whose time is over."""
        steps: list[AddressStep] = []
        for address, held in list(self._held.items()):
            if self.driver == "l2" and now >= held.deadline:
                # Nothing but this deadline keeps the next holder and us apart.
                del self._held[address]
                steps.append(self._lost(address, "its lease could not be renewed in time"))
            elif not held.placed and now - held.since > _GIVE_UP:
                self._releases.add(address)
                self._resting[address] = now + _REST
            elif not held.placed and self.driver in ("hook", "l2") and now - held.tried_at >= _RETRY:
                held.tried_at = now
                steps.append(Place(address, held.epoch, held.host, self._sides.get(address, "")))
        return steps

    def until(self) -> float:
        """When ``due`` has to be called, and nothing may be sent before it was: with the driver "l2" time alone keeps
        the next holder and us apart."""
        if self.driver != "l2":
            return float("inf")
        return min((held.deadline for held in self._held.values()), default=float("inf"))

    def moved(self, address: str, epoch: int) -> list[AddressStep]:
        """The driver has confirmed that the address's packets arrive here."""
        held = self._held.get(address)
        if held is None or held.epoch != epoch or held.placed:
            return []
        held.placed = True
        return [self._gained(address, epoch, held.host)]

    def again(self, address: str) -> list[AddressStep]:
        """As when the address came, if it is here."""
        held = self._held.get(address)
        return [self._gained(address, held.epoch, held.host)] if held is not None and held.placed else []

    def announced(self, edge: str, address: str, epoch: int) -> list[AddressStep]:
        """Another edge says that it holds ``address`` in ``epoch``: the highest epoch wins."""
        held = self._held.get(address)
        if held is not None and held.epoch >= epoch:
            return []
        self._holders[address] = (edge, epoch)
        if held is None:
            return []
        del self._held[address]
        return [self._lost(address, f"edge {edge} holds it now")]

    def _learn_sides(self, places: Sequence[EdgePlace]) -> None:
        self._sides = {place.address: place.address6 for place in places}

    def _gained(self, address: str, epoch: int, host: str) -> Gained:
        return Gained(address, epoch, host, self._sides.get(address, ""))

    def _lost(self, address: str, why: str) -> Lost:
        return Lost(address, why, self._sides.get(address, ""))

    # What may be done

    def served(self, now: float) -> dict[str, int]:
        """The addresses that this edge sends from, with their epochs. While the IP is on this machine it goes on,
        whether or not it can renew the lease: where the IP is, is the fence. With the driver "l2" nothing fences but
        time."""
        return {
            address: held.epoch
            for address, held in self._held.items()
            if held.placed and (self.driver != "l2" or now < held.deadline)
        }

    def held(self) -> frozenset[str]:
        """All that it has leases on, also those that haven't arrived yet."""
        return frozenset(self._held)

    def epoch(self, address: str) -> int:
        """That of the lease on ``address``; 0 if there is none."""
        held = self._held.get(address)
        return held.epoch if held is not None else 0

    def exclusive(self) -> dict[str, tuple[float, float]]:
        """From when until when REGISTERs may go to providers from an address: nothing fences those but the lease."""
        return {address: (held.exclusive_at, held.deadline) for address, held in self._held.items() if held.placed}

    def may_register(self, address: str, now: float) -> bool:
        """Whether one may go now."""
        since, until = self.exclusive().get(address, (float("inf"), 0.0))
        return since <= now < until

    def resume(self, epochs: dict[str, int], now: float, places: Sequence[EdgePlace] = ()) -> list[AddressStep]:
        """Started in the dark: what this machine held when it last heard from the control plane, it goes on serving."""
        if self.driver == "l2":
            return []  # the lease may be over, and nothing would tell
        self._learn_sides(places)
        steps: list[AddressStep] = []
        for address, epoch in epochs.items():
            host = self._free_host(address)
            if host is not None:
                self._held[address] = Holding(epoch, host, now, float("inf"), True, now)
                steps.append(self._gained(address, epoch, host))
        return steps

    def surplus(self, wants: Collection[str]) -> str:
        """An address of ``wants`` that this edge can give back, since it has another one; "" if there is none."""
        if len(self._held) < 2:
            return ""
        return next((address for address in wants if address in self._held and address != self.home), "")
