"""Certificates as this process knows them: which there are, and who may have which."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lambdas.contract import CertificateVersion, EdgePlace
from lambdas.decisions.certificates import Authority, Certified, due
from lambdas.repositories.certificates import Bundle, CertificateTable
from lambdas.repositories.models import EdgeItem
from lambdas.services.cached import Cached


@dataclass(frozen=True, slots=True)
class CertificateVersions:
    """``all`` that an edge should have, and the ``version`` of this list."""

    all: list[CertificateVersion] = field(default_factory=list)
    version: str = ""


class CertificateReader:
    """A few seconds old at most."""

    def __init__(self, table: CertificateTable, authority: str, places: Callable[[], Iterable[EdgePlace]]) -> None:
        """``authority`` is its directory's URL, "" where there are none; ``places`` tells the edge addresses' names."""
        self._places = places
        self.available = bool(authority)
        self._table = table
        self._all: Cached[dict[str, Certified]] = Cached(table.all, 5.0)
        self._authority: Cached[Authority] = Cached(lambda: table.authority(authority), 5.0)

    def all(self) -> dict[str, Certified]:
        """What is known of each name's."""
        return self._all.get()

    def trouble(self, state: Certified, now: float) -> str:
        """What the authority itself fails by, where there is something to do for a name."""
        return self._authority.get().error if self.available and due(state, now) else ""

    def versions(self, edge: EdgeItem) -> CertificateVersions:
        """The certificates that an edge should have."""
        names = self._own_names(edge)
        found = [
            CertificateVersion(name=name, version=one.version)
            for name, one in sorted(self.all().items())
            if one.version and (one.tenant or name in names)
        ]
        text = json.dumps([(one.name, one.version) for one in found])
        return CertificateVersions(found, hashlib.sha256(text.encode()).hexdigest()[:16])

    def bundles(self, edge: EdgeItem, names: Iterable[str]) -> list[Bundle]:
        """Those of ``names`` that there are and that the edge may have, with their keys. Raises Unsealed."""
        allowed = {one.name for one in self.versions(edge).all}
        found = [self._table.bundle(name) for name in dict.fromkeys(names) if name in allowed]
        return [bundle for bundle in found if bundle is not None]

    def _own_names(self, edge: EdgeItem) -> frozenset[str]:
        """Those of the addresses that the edge may hold, taken over or not: so nothing has to be fetched when phones
        wait for it, and no edge has the key of an address that it may never hold."""
        return frozenset(place.name for place in self._places() if place.name and place.address in edge.addresses)
