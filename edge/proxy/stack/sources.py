"""Where requests come from: who has proven that he is there, and what everybody else may cost.

Theory of operation. A source is an IPv4 address, or the first 56 bits of an IPv6 address: what one customer of a
network has. It is *proven* once one of our nonces was answered rightly from there, or a request of ours, for an hour;
the flow of a binding is proven as long as the binding lives. Everybody else is a stranger:

- strangers get ``ANSWERS`` answers a second for each source, each sent once and remembered nowhere, so that a forged
  source is neither flooded nor worth its while;
- credentials that this edge can't check itself have to be asked about. Each question takes something out of its
  source's bucket, which gets it back if the answer proves the account, and otherwise fills slowly;
- an account that fails from one source ``FAILURES`` times is refused there for a while, whatever it brings, without
  anybody's being asked.

Every table has a bound, past which the oldest entry goes.
"""

from __future__ import annotations

from collections.abc import Hashable, MutableMapping
from dataclasses import dataclass
from typing import TypeVar

from edge.sip.flow import source_of

ANSWERS = 10
"""Answers in a second to the requests of a source that has proven nothing."""
QUESTIONS = 20
"""Questions that a source may have open, or lose, at once."""
QUESTIONS_PROVEN = 200
"""The same for one that is proven, or is there by a stream's handshake: an office, a carrier's NAT, a provider."""
QUESTIONS_PER_SECOND = 0.5
"""How fast what was lost comes back: a guesser needs more than two minutes to the ban after 100 failures."""
FAILURES = 5
"""Failed logins of one account from one source, after which it is refused there."""
REFUSED = 30.0
"""Seconds for which it is, after each further failure; then one more attempt is asked about."""
REFUSED_IN_THE_DARK = 600.0
"""The same while no control plane hears of it."""
PROVEN = 3600.0
"""Seconds for which a source counts as proven after the last right credentials."""

_FORGOTTEN = 600.0  # seconds after which a failure counts no more
_MOST_SOURCES = 20_000
_MOST_PROVEN = 100_000


class Slowed(Exception):
    """The request isn't answered: its source has had more than its share. Who is there sends it again."""


@dataclass(slots=True)
class _Bucket:
    """``used`` is what questions have taken, as of ``at``."""

    used: float
    at: float


@dataclass(slots=True)
class _Failures:
    times: int
    last: float
    until: float = 0.0
    status: int = 403


class Sources:
    """``now`` is the core's time throughout."""

    def __init__(self) -> None:
        self._proven: dict[str, float] = {}
        self._second = 0
        self._answers: dict[str, int] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._failures: dict[tuple[str, str], _Failures] = {}

    # Proof

    def proven(self, host: str, now: float) -> bool:
        """Whether somebody at ``host`` has lately shown who he is."""
        return self._proven.get(source_of(host), 0.0) > now

    def prove(self, host: str, now: float) -> None:
        source = source_of(host)
        if self._proven.get(source, 0.0) < now + PROVEN / 2:
            self._proven.pop(source, None)
            _put(self._proven, source, now + PROVEN, _MOST_PROVEN)

    # Answers

    def may_answer(self, host: str, now: float) -> bool:
        """Take one of the answers that a stranger at ``host`` gets in this second; False if there is none left."""
        if int(now) != self._second:
            self._second = int(now)
            self._answers = {}
        source = source_of(host)
        given = self._answers.get(source, 0)
        if given >= ANSWERS:
            return False
        self._answers[source] = given + 1
        return True

    def silent(self, host: str, now: float) -> bool:
        """Whether a stranger at ``host`` would get no answer just now."""
        return int(now) == self._second and self._answers.get(source_of(host), 0) >= ANSWERS

    # Questions

    def take_question(self, host: str, there: bool, now: float) -> bool:
        """Take what a question costs; False if that is more than the source has. ``there``: it is known to be, by the
        handshake of a stream."""
        source, most = source_of(host), QUESTIONS_PROVEN if there or self.proven(host, now) else QUESTIONS
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = _Bucket(0.0, now)
            _put(self._buckets, source, bucket, _MOST_SOURCES)
        bucket.used = max(0.0, bucket.used - (now - bucket.at) * QUESTIONS_PER_SECOND)
        bucket.at = now
        if bucket.used + 1 > most:
            return False
        bucket.used += 1
        return True

    def give_back(self, host: str) -> None:
        """It has cost nothing."""
        source = source_of(host)
        bucket = self._buckets.get(source)
        if bucket is None:
            return
        bucket.used -= 1
        if bucket.used <= 0:
            del self._buckets[source]

    # Failures

    def failed(self, host: str, account: str, status: int, now: float) -> None:
        """Credentials of ``account`` were wrong: further ones may be answered ``status`` for a while (403 by the
        control plane's word, 503 if none was to be had)."""
        key = (source_of(host), account)
        known = self._failures.pop(key, None)
        if known is None or now - known.last > _FORGOTTEN:
            known = _Failures(0, now)
        known.times += 1
        known.last, known.status = now, status
        if known.times >= FAILURES:
            known.until = now + (REFUSED if status == 403 else REFUSED_IN_THE_DARK)
        _put(self._failures, key, known, _MOST_SOURCES)

    def refused(self, host: str, account: str, now: float) -> int:
        """What credentials of ``account`` are answered unseen; 0: nothing, they are looked at."""
        known = self._failures.get((source_of(host), account))
        return known.status if known is not None and known.until > now else 0

    def succeeded(self, host: str, account: str, now: float) -> None:
        """The account has shown who it is."""
        self._failures.pop((source_of(host), account), None)
        self.prove(host, now)

    def __len__(self) -> int:
        """Entries of all tables."""
        return len(self._proven) + len(self._answers) + len(self._buckets) + len(self._failures)


_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


def _put(table: MutableMapping[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]
