"""Which peers are told of which sessions of the addresses held here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

_COPIES: Final = 2


class Due(NamedTuple):
    """``peer`` has to be told of the session ``name`` as it is when that leaves; "": that all will be told anew."""

    peer: str
    address: str
    name: str


def chosen(address: str, peers: Iterable[str], near: Collection[str]) -> list[str]:
    """Those that have the copies: of the ``near`` ones first, since an address doesn't leave its Region. Of these any
    that is registered for ``address`` may be the one that takes it, whoever asks first; addresses have others of them,
    so that nobody keeps all."""

    def rank(peer: str) -> tuple[bool, bytes]:
        return peer not in near, blake2b(f"{address} {peer}".encode()).digest()

    return sorted(peers, key=rank)[:_COPIES]


class Copying:
    """A session that changes again before it was told is told once."""

    def __init__(self) -> None:
        self._told: dict[str, set[str]] = {}
        self._heard: dict[str, set[str]] = {}
        self._due: dict[Due, None] = {}

    def linked(
        self, peers: Collection[str], near: Collection[str], names: Mapping[str, Collection[str]]
    ) -> list[tuple[str, str]]:
        """``peers`` are those with a link, ``near`` those in this Region, ``names`` the sessions of each address held.
        Gives back (peer, address) of those that aren't told any more, and have to know that what they have grows old.
        """
        for due in [due for due in self._due if due.peer not in peers or due.address not in names]:
            del self._due[due]
        left = []
        for address, sessions in names.items():
            told = self._told.get(address, set()) & set(peers)
            heard = self._heard.get(address, set()) & set(peers)
            wanted = set(chosen(address, peers, near))
            for peer in sorted(wanted - told):
                self.tell(peer, address, sessions)
            left += [(peer, address) for peer in sorted((set(peers) - heard - wanted) | (told - wanted))]
            self._told[address], self._heard[address] = wanted, set(peers)
        for address in [address for address in self._told if address not in names]:
            del self._told[address], self._heard[address]
        return left

    def tell(self, peer: str, address: str, sessions: Iterable[str]) -> None:
        """Tell a peer everything anew, and what changes from now on."""
        self._told.setdefault(address, set()).add(peer)
        for name in ("", *sessions):
            due = Due(peer, address, name)
            self._due.pop(due, None)
            self._due[due] = None

    def told(self, address: str) -> list[str]:
        """Who is told of an address's sessions."""
        return sorted(self._told.get(address, ()))

    def changed(self, address: str, name: str) -> None:
        for peer in self._told.get(address, ()):
            self._due.setdefault(Due(peer, address, name))

    def take_due(self, most: int) -> list[Due]:
        """At most so many, in order."""
        taken = [due for due, _ in zip(self._due, range(most), strict=False)]
        for due in taken:
            del self._due[due]
        return taken
