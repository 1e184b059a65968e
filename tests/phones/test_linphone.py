"""Linphone."""

from __future__ import annotations

import pytest

from tests.phones.scenarios import Scenarios
from tests.support.phones.linphone import Linphone

pytestmark = pytest.mark.natlab


class TestLinphone(Scenarios):
    """Its TCP tries again up to a minute later, and hangs up a call whose stream is gone."""

    kind = Linphone
    restart = {"udp": 5.0, "tcp": 90.0}
    link = {"udp": 5.0, "tcp": 20.0}
    outlives = ("udp",)
