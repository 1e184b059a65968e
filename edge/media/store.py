"""The Redis that an engine (rtpengine) keeps its sessions in: nine commands, of which these are what it needs.

Theory of operation. An engine keeps one connection, for whatever it saves, and asks PING before each command; where
that fails it connects anew. Started, it asks for all names (KEYS), opens further connections and gets what has these
names (GET) by them; once these are closed it serves. A session that it can't restore, since a port or its address can't
be had, it deletes, for good: an engine that is started a moment too early would delete them all. So until a restore is
over nothing is deleted; what the engine wanted to be rid of is known then (``refused``), and is dropped or tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from edge.media.saved_session import gist, may_encrypt, to_restore

OK: Final = "OK"


class CommandRefused(NamedTuple):
    """An error, as the engine logs it."""

    text: str


Reply = str | bytes | int | list[bytes] | CommandRefused | None
"""A status (text), a string (octets; None: there is none), a number, strings, or an error."""


class SessionChange(NamedTuple):
    """A session as it is now; ``saved`` is b"" once it is over."""

    name: str
    saved: bytes


class SessionStore:
    """The sessions of one address's engine, by its names of them, which are texts of Latin-1 here."""

    def __init__(self, saved: Mapping[str, bytes]) -> None:
        self._saved = dict(saved)
        self._gists = {name: gist(data) for name, data in saved.items()}
        self._encrypting = {name for name, data in saved.items() if may_encrypt(data)}
        self._changed: dict[str, None] = {}
        self._unseen: set[str] | None = None
        self._connections: set[int] = set()
        self._restorer: int | None = None
        self._helpers: set[int] = set()
        self.refused: set[str] = set()

    def __len__(self) -> int:
        return len(self._saved)

    @property
    def restoring(self) -> bool:
        """Whether an engine is reading what it is to go on with."""
        return self._restorer is not None

    @property
    def may_encrypt(self) -> bool:
        """Whether there is a session with SRTP: how far its packets have been counted has to be known."""
        return bool(self._encrypting)

    @property
    def connected(self) -> bool:
        """Whether an engine is."""
        return bool(self._connections)

    def saved(self) -> dict[str, bytes]:
        """All sessions as they were saved last."""
        return dict(self._saved)

    def get(self, name: str) -> bytes:
        """One of them; b"" if it is over."""
        return self._saved.get(name, b"")

    def take_changed(self) -> list[SessionChange]:
        """What has changed since this was asked last."""
        names, self._changed = self._changed, {}
        return [SessionChange(name, self.get(name)) for name in names]

    # The engine

    def opened(self, connection: int) -> None:
        """The engine has said who it is on a new connection."""
        self._connections.add(connection)
        if self._restorer is not None:
            self._helpers.add(connection)

    def closed(self, connection: int) -> None:
        self._connections.discard(connection)
        if connection == self._restorer:
            # It ended in the middle: the next one begins anew.
            self._restorer = None
            self._helpers.clear()
            self.refused.clear()
        elif connection in self._helpers:
            self._helpers.discard(connection)
            if not self._helpers:
                self._restorer = None

    def answer(self, connection: int, words: list[bytes]) -> Reply:
        """What ``words``, a command, get."""
        match words[0].upper(), words[1:]:
            case b"PING", _:
                return "PONG"
            case b"SELECT", _:
                return OK
            case b"INFO", _:
                return b"role:master\r\n"
            case b"TYPE", _:
                return "none"  # of "calls", where older versions kept them; what is no set there they delete
            case b"SET", [name, data]:
                self._set(name.decode("latin-1"), data)
                return OK
            case b"EXPIRE", [name, _]:
                # Sessions end when the engine says so, and calls may last.
                return int(name.decode("latin-1") in self._saved)
            case b"KEYS", _:
                self._restorer = connection
                self._helpers.clear()
                self.refused.clear()
                return [name.encode("latin-1") for name in self._saved]
            case b"GET", [name]:
                data = self.get(name.decode("latin-1"))
                return to_restore(data) if data else None
            case b"DEL", [name]:
                return self._delete(name.decode("latin-1"))
        return CommandRefused(f"ERR {words[0][:32].decode('latin-1')!r} is not for engines")

    def _set(self, name: str, data: bytes) -> None:
        self.refused.discard(name)
        if self._unseen is not None:
            self._unseen.discard(name)
        known = gist(data)
        self._saved[name] = data
        if self._gists.get(name) != known:
            self._gists[name] = known
            self._changed[name] = None
        if may_encrypt(data):
            self._encrypting.add(name)

    def _delete(self, name: str) -> int:
        if name not in self._saved:
            return 0
        if self.restoring:
            self.refused.add(name)
        else:
            self._drop(name)
        return 1

    def _drop(self, name: str) -> None:
        del self._saved[name]
        del self._gists[name]
        self._encrypting.discard(name)
        self._changed[name] = None

    # What the edge does

    def drop_refused(self) -> int:
        """The engine goes on without what it couldn't restore; how many sessions that were."""
        names = [name for name in self.refused if name in self._saved]
        for name in names:
            self._drop(name)
        self.refused.clear()
        return len(names)

    def expect_all(self) -> None:
        """The engine is about to save all that it has."""
        self._unseen = set(self._saved)

    def drop_unseen(self) -> None:
        """It has: what it hasn't saved was over while nobody was here to be told."""
        unseen, self._unseen = self._unseen, None
        for name in unseen or ():
            if name in self._saved:
                self._drop(name)
