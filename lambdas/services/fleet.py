"""The fleet: which edges there are, what they hold, and how many provider accounts register from where."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lambdas.contract import EdgePlace
from lambdas.decisions.lease import Lease, spoken
from lambdas.repositories.assignments import Assignments
from lambdas.repositories.directory import Directory
from lambdas.repositories.leases import Leases, Presence
from lambdas.repositories.models import EdgeItem
from lambdas.services.cached import Cached

_MOST_EDGES = 10_000  # that are remembered


class FleetReader:
    """As this process has read it, a moment ago or (``now``) just now."""

    def __init__(
        self, directory: Directory, leases: Leases, assignments: Assignments, clock: Callable[[], float]
    ) -> None:
        self._directory = directory
        self._leases = leases
        self._assignments = assignments
        self._clock = clock
        self._living: Cached[tuple[list[Lease], list[Presence]]] = Cached(self._read_living, 1.0)
        self._registered: Cached[list[EdgeItem]] = Cached(lambda: list(directory.all("edges")), 5.0)
        self._places: Cached[list[EdgePlace]] = Cached(self._read_places, 5.0)
        self._edges: dict[str, Cached[EdgeItem | None]] = {}
        self._loads: dict[str, Cached[int]] = {}

    def now(self, edge: str = "", addresses: Iterable[str] = ()) -> tuple[list[Lease], list[Presence]]:
        """Every lease and presence, run out or not, those of ``edge`` too: if it isn't known it has just been
        registered, and the others are to reach it soon."""
        known = self._registered.get()
        if edge and all(item.id != edge for item in known):
            known = self._registered.get(fresh=True)
        names = {item.id for item in known} | ({edge} if edge else set())
        places = {address for item in known for address in item.addresses} | set(addresses)
        return self._leases.all(sorted(places), sorted(names))

    def leases(self, fresh: bool = False) -> list[Lease]:
        """Those that haven't run out."""
        return self._living.get(fresh)[0]

    def spoken(self) -> int:
        """The version of the contract that every edge can read: nothing else is made."""
        return spoken(self.leases(), self._clock())

    def lives(self, edge: str, boot: str) -> bool:
        """Whether that process of an edge has sent heartbeats lately."""
        leases, present = self._living.get()
        if any((lease.holder, lease.boot) == (edge, boot) for lease in leases):
            return True
        return any((presence.edge, presence.boot) == (edge, boot) for presence in present)

    def addresses(self) -> list[str]:
        """Every edge address."""
        return sorted({address for item in self._registered.get() for address in item.addresses})

    def places(self, fresh: bool = False) -> list[EdgePlace]:
        """The sides of those addresses that have any."""
        return self._places.get(fresh)

    def listeners(self, edge: str) -> list[str]:
        """Where an edge says that it listens; nowhere if it doesn't live."""
        leases, present = self._living.get()
        found = [lease.listen for lease in leases if lease.holder == edge]
        found += [presence.listen for presence in present if presence.edge == edge]
        return list(found[0]) if found else []

    def edges_for(self, address: str) -> list[str]:
        """The edges that may hold ``address``."""
        return [item.id for item in self._registered.get() if address in item.addresses]

    def edge(self, edge: str) -> EdgeItem | None:
        """A registered edge; a removed one is noticed within 10 s."""
        if edge not in self._edges and len(self._edges) < _MOST_EDGES:
            self._edges[edge] = Cached(lambda: self._directory.get(EdgeItem, edge), 10.0)
        found = self._edges[edge].get()
        if found is None:
            del self._edges[edge]  # so that names tried by strangers aren't kept
        return found

    def load(self, address: str) -> int:
        """How many provider accounts ``address`` has, as of a few seconds ago."""
        if address not in self._loads:
            self._loads[address] = Cached(lambda: self._assignments.count(address), 5.0)
        return self._loads[address].get()

    def added(self, address: str) -> None:
        """An account was assigned to ``address``: the count of a few seconds ago mustn't draw all of them there."""
        load = self.load(address)
        self._loads[address].put(load + 1)

    def _read_places(self) -> list[EdgePlace]:
        found = self._directory.all("edge-places")
        return [EdgePlace(address=item.address, address6=item.address6, name=item.name) for item in found]

    def _read_living(self) -> tuple[list[Lease], list[Presence]]:
        now = self._clock()
        leases, present = self.now()
        return (
            [lease for lease in leases if lease.expires_at > now],
            [presence for presence in present if presence.expires_at > now],
        )
