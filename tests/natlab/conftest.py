"""Fleets in laboratories. CI must not skip these tests: there a missing laboratory is a failure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from scripts.fleet import DevelopmentFleet
from tests.support.natlab import NatLab, why_not

Lab = TypeVar("Lab", bound=NatLab)


@contextlib.contextmanager
def laboratory(make: Callable[[], Lab]) -> Iterator[Lab]:
    """A laboratory, or why there can't be one."""
    reason = why_not()
    if reason and os.environ.get("CI"):
        pytest.fail(f"no NAT laboratory: {reason}")
    if reason:
        pytest.skip(f"no NAT laboratory: {reason}")
    with make() as made:
        yield made


@pytest.fixture(scope="module", params=[False, True], ids=["port-preserving", "symmetric"])
def lab(request: pytest.FixtureRequest) -> Iterator[NatLab]:
    with laboratory(lambda: NatLab(request.param)) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(lab: NatLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevelopmentFleet]:
    made = lab.fleet(tmp_path_factory.mktemp("fleet"))
    try:
        made.start()
        yield made
    finally:
        made.stop()
