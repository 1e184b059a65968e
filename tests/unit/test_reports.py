"""What edges report, where the queue of webhooks takes nothing: records are kept, and don't wait for ever."""

from __future__ import annotations

import pytest

from lambdas.api import reports
from lambdas.contract import CallEnded
from lambdas.repositories.hooks import NotTold

ENDED = CallEnded(tenant="t1", call="c1", started=1000, ended=1010.0, by="caller")


class Doubles:
    def __init__(self, now, fails):
        self.clock = lambda: now
        self._fails = fails
        self.notices = self

    def ended(self, report):
        assert report is ENDED
        if self._fails:
            raise NotTold("QueueDoesNotExist")


@pytest.mark.parametrize(
    ("now", "fails", "done"),
    [(1011.0, False, True), (1011.0, True, False), (1609.0, True, False), (1611.0, True, True)],
)
def test_telling(now, fails, done):
    assert reports._tell(ENDED, Doubles(now, fails)) is done
