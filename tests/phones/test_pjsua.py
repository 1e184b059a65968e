"""Pjsua."""

from __future__ import annotations

import pytest

from tests.phones.scenarios import Scenarios
from tests.support.phones.pjsua import Pjsua

pytestmark = pytest.mark.natlab


class TestPjsua(Scenarios):
    """With a short interval between attempts to register; by itself it waits 300 s."""

    kind = Pjsua
    restart = {"udp": 5.0, "tcp": 15.0}
    link = {"udp": 5.0, "tcp": 20.0}
