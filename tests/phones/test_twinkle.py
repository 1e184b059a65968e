"""Twinkle."""

from __future__ import annotations

import pytest

from tests.phones.scenarios import Scenarios
from tests.support.phones.twinkle import Twinkle

pytestmark = pytest.mark.natlab


class TestTwinkle(Scenarios):
    """It notices by its ping every 30 s that its stream is gone. Its console hangs when a consultation is to be joined,
    and doesn't always say that a call has ended whose BYE it has answered on another stream."""

    kind = Twinkle
    restart = {"udp": 5.0, "tcp": 45.0}
    link = {"udp": 5.0, "tcp": 20.0}
    attended = False
    outlives = ("udp",)
