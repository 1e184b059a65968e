"""``scripts/bench size``: what a refresh and a call take of the core, and for how long nobody else is served, with
1,000, 10,000 and 100,000 bindings at one edge. The core alone, by UDP, with its pings and the garbage collector."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from edge.proxy.core import Core
from edge.proxy.stack.events import BindingsChanged, CoreEvent, Fed, FleetChanged, Tick
from edge.runtime.garbage import GarbageLooks
from lambdas.contract import BindingChange, Change, Grant

SIZES = (1_000, 10_000, 100_000)
_OPERATIONS = 300
_PAGE = 500  # bindings in one heartbeat's answer
_MINUTE = 60.0
_BEAT = 2.0
_GRANT = Grant(tenant="t1", version=1, ha1_md5="0" * 32, ha1_sha256="1" * 64)


def size(
    say: Callable[..., None],
    make: Callable[[], Core],
    costs: Mapping[str, Callable[[Core, int], float]],
    rounds: int,
) -> None:
    """``costs`` are seconds of CPU for one operation of so many in a core that ``make`` has made."""
    measured: dict[str, dict[int, list[float]]] = {name: {number: [] for number in SIZES} for name in costs}
    for number in SIZES * rounds:
        core, _ = _filled(make, number)
        for name, cost in costs.items():
            measured[name][number].append(cost(core, _OPERATIONS))
        core = make()  # the old one's memory goes before the next one's comes
    for name, found in measured.items():
        medians = {number: statistics.median(values) for number, values in found.items()}
        for number, value in medians.items():
            say(f"size, {name}", value * 1e6, "µs of the core", bindings=number)
        least = medians[SIZES[0]]
        say(f"size, {name}", max(medians.values()) / least, "times what it is with fewest", goal=1.2)
    looks: list[float] = []
    collector = GarbageLooks(looks.append)
    collector.start()
    try:
        for number in SIZES:
            looks.clear()
            core, page = _filled(make, number)
            say("size, loading", page * 1e3, "ms for a page of a heartbeat at most", bindings=number)
            for kind, longest in _minute(core).items():
                say(f"size, {kind}", longest * 1e3, "ms at most in a minute", bindings=number)
            say("size, garbage", max(looks, default=0.0) * 1e3, "ms at most, loading included", bindings=number)
    finally:
        collector.stop()


def _filled(make: Callable[[], Core], number: int) -> tuple[Core, float]:
    """A core with so many bindings, and the seconds that the longest page of them took."""
    core, longest = make(), 0.0
    (address,) = core.stack.fleet.epochs
    for first in range(0, number, _PAGE):
        changes = [
            BindingChange(
                id=f"b{index:07}",
                aor=f"many{index}@example.com",
                contact=f"sip:many{index}@10.{index >> 16}.{index >> 8 & 255}.{index & 255}:5060",
                flow=(address, 5060, "udp", f"100.{64 + (index >> 16)}.{index >> 8 & 255}.{index & 255}", 5060, 0),
                tenant="t1",
                expires=3600,
            )
            for index in range(first, min(number, first + _PAGE))
        ]
        longest = max(longest, _spent(core, BindingsChanged(changes), 1.0))
        for change in changes:
            core.stack.grants.keep(change.aor, _GRANT, 1.0)
    return core, longest


def _minute(core: Core) -> dict[str, float]:
    """The longest steps of a minute with heartbeats, of which one says that a tenant is suspended, and one that the
    feed has a gap: by kind, in seconds. What is kept on the disk is taken as an edge does."""
    longest = {"timers": 0.0, "heartbeat": 0.0, "disk": 0.0}
    now = beat = 1.0

    def note(kind: str, spent: float) -> None:
        longest[kind] = max(longest[kind], spent)

    while now < 1.0 + _MINUTE:
        deadline = core.deadline()
        assert deadline is not None
        now = max(now, deadline)
        note("timers", _spent(core, Tick(), now))
        if now >= beat:
            beat = now + _BEAT
            note("heartbeat", sum(_spent(core, event, now) for event in _heartbeat(core, round(now))))
            begun = time.thread_time()
            core.disk_records.take_changed(100, now)
            note("disk", time.thread_time() - begun)
    return longest


def _heartbeat(core: Core, second: int) -> Iterator[CoreEvent]:
    yield FleetChanged(replace(core.stack.fleet, informed_at=float(second)))
    if 20 <= second < 22:
        yield Fed([Change(tenant="t2", version=1)], False)
    if 40 <= second < 42:
        yield Fed([], True)


def _spent(core: Core, event: CoreEvent, now: float) -> float:
    begun = time.thread_time()
    core.handle(event, now)
    return time.thread_time() - begun
