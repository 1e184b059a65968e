"""What scenarios of calls by a provider begin with; a file whose own are others names them itself."""

from __future__ import annotations

import pytest

from tests.support.provider import ProviderDouble, provider_world, registered_provider
from tests.support.world import World


@pytest.fixture
def world() -> World:
    return provider_world()


@pytest.fixture
def provider(world) -> ProviderDouble:
    return registered_provider(world)


@pytest.fixture
def alice(world):
    phone = world.phone("alice", "edge-b")
    assert phone.register() == 200
    return phone
