"""Asking a second time where an answer is slow: one instance of a function may be starting, or stuck, while the others
answer at once.

Theory of operation. A question counts as slow once nineteen of the last twenty were answered sooner. It is asked again
then, once, at the same control plane, on a connection of its own; whichever answer comes first counts, and the control
plane knows the second one by its token for a repetition. That must not make a control plane slower that is slow because
it has too much to do: so at most a twentieth of a minute's questions are asked twice, and none while it refuses, fails,
or is late for everybody, nor while questions wait here for their turn.
"""

from __future__ import annotations

from collections import deque

SHARE = 0.05
"""Of the questions of a minute, at most so many are asked twice."""
LEAST = 0.03
"""Seconds before which nothing counts as slow."""
TROUBLED = 10.0
"""Seconds without second questions after one has failed."""
_MINUTE = 60.0
_FEW = 20  # answers, before which nobody knows what is slow
_KNOWN = 100  # answers that say what is slow
_AGAIN = 10  # answers, after which that is reckoned anew


class Hedges:
    """Of one control plane. ``after``: seconds after which a question counts as slow; None if none does."""

    def __init__(self) -> None:
        self.after: float | None = None
        self._taken: deque[float] = deque(maxlen=_KNOWN)
        self._unreckoned = 0
        self._asked: deque[list[float]] = deque()  # of each second of this minute: [second, questions, second ones]
        self._questions = self._seconds = 0.0
        self._calm_at = 0.0

    def asked(self, now: float) -> None:
        """A question leaves."""
        self._bucket(now)[1] += 1
        self._questions += 1

    def answered(self, seconds: float) -> None:
        """It was, after so many."""
        self._taken.append(seconds)
        self._unreckoned += 1
        if self._unreckoned >= _AGAIN and len(self._taken) >= _FEW:
            self._unreckoned = 0
            slow = sorted(self._taken)[round(len(self._taken) * (1 - SHARE)) - 1]
            self.after = max(LEAST, slow)

    def failed(self, now: float) -> None:
        """There is trouble, which second questions would make worse."""
        self._calm_at = now + TROUBLED

    def take(self, now: float) -> bool:
        """Whether one more may be asked twice; it counts as asked then."""
        bucket = self._bucket(now)
        if now < self._calm_at or self._seconds + 1 > SHARE * self._questions:
            return False
        bucket[2] += 1
        self._seconds += 1
        return True

    def _bucket(self, now: float) -> list[float]:
        """This second's; what is older than a minute goes."""
        second = float(int(now))
        while self._asked and self._asked[0][0] <= second - _MINUTE:
            _, questions, seconds = self._asked.popleft()
            self._questions -= questions
            self._seconds -= seconds
        if not self._asked or self._asked[-1][0] != second:
            self._asked.append([second, 0.0, 0.0])
        return self._asked[-1]
