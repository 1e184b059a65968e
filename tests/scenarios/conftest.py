"""What scenarios of calls by a provider begin with; a file whose own are others names them itself."""

from __future__ import annotations

import pytest

from lambdas.decisions.provider import StoredRoute, TenantSettings
from tests.support.provider import ProviderDouble, account, assign
from tests.support.world import World


@pytest.fixture
def world() -> World:
    made = World()
    made.control.settings = TenantSettings("GB", (), (StoredRoute("", ("voip",)),))
    return made


@pytest.fixture
def provider(world) -> ProviderDouble:
    made = ProviderDouble(world)
    assign(world, account())
    world.run(2)
    return made


@pytest.fixture
def alice(world):
    phone = world.phone("alice", "edge-b")
    assert phone.register() == 200
    return phone
