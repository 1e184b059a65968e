"""When to ping which UDP flow, so that its NAT keeps it open (RFC 4787 §4.3; some NATs refresh on packets from the
inside only, so the ping is an OPTIONS that the phone answers).

A wheel of slots as long as the interval. A new flow gets a first ping 2.5 to 4.5 s later: conntrack treats a flow as
a stream, with the longer time-out, only once packets go both ways 2 s after it began. Then it moves to the
emptiest slot of the whole wheel, so that pings stay evenly spread however registrations came in.
"""

from __future__ import annotations

from math import ceil

from edge.sip.flow import Flow

SLOT = 0.02  # seconds
FIRST_EARLIEST, FIRST_LATEST = 2.5, 4.5
_WINDOW = round((FIRST_LATEST - FIRST_EARLIEST) / SLOT)
_STRIDE = 37  # has no factor in common with _WINDOW, so that flows added together are pinged apart
_BURST = 1.5  # times the mean rate, for slots that the process was too late for


class Keepalive:
    """``interval`` in seconds, at least 5."""

    def __init__(self, interval: float = 15.0) -> None:
        if interval < 5:
            raise ValueError(f"keep-alive interval {interval} s: at least 5 s are needed")
        self.interval = interval
        self._slots: list[dict[Flow, None]] = [{} for _ in range(round(interval / SLOT))]
        self._first: dict[int, list[Flow]] = {}  # tick -> flows that wait for their first ping
        self._where: dict[Flow, int] = {}  # slot; -1 while the first ping is to come
        self._least = 0  # flows in the emptiest slot
        self._emptiest: list[int] = []  # slots that had as many, the next one last
        self._late: list[Flow] = []
        self._turn = 0
        self._tick: int | None = None  # last one done

    def add(self, flow: Flow, now: float, fresh: bool = True) -> None:
        """Start pinging ``flow``. Where it isn't ``fresh`` (read back after a restart) it goes straight to a slot."""
        if not fresh:
            self._place(flow)
            return
        self._turn = (self._turn + _STRIDE) % _WINDOW
        tick = int((now + FIRST_EARLIEST) / SLOT) + self._turn
        self._first.setdefault(tick, []).append(flow)
        self._where[flow] = -1

    def remove(self, flow: Flow) -> None:
        """Stop pinging ``flow``; nothing happens if it isn't pinged."""
        slot = self._where.pop(flow, None)
        if slot is not None and slot >= 0:
            del self._slots[slot][flow]
            left = len(self._slots[slot])
            if left < self._least:
                self._least, self._emptiest = left, []
            if left == self._least:
                self._emptiest.append(slot)

    def due(self, now: float) -> list[Flow]:
        """The flows to ping now. Call it every SLOT seconds while there are flows."""
        tick = int(now / SLOT)
        if self._tick is None or tick - self._tick > len(self._slots):
            self._tick = tick - 1
        late = self._late
        found: list[Flow] = []
        for at in range(self._tick + 1, tick + 1):
            for flow in self._first.pop(at, ()):
                if self._where.get(flow) == -1:
                    found.append(flow)
                    self._place(flow, skip=at % len(self._slots))
            late.extend(self._slots[at % len(self._slots)])
        self._tick = max(self._tick, tick)
        if late:
            # After a stall the slots missed don't go out in one burst.
            allowed = ceil(_BURST * len(self._where) / len(self._slots))
            found += [flow for flow in late[:allowed] if flow in self._where]
            del late[:allowed]
        return found

    def _place(self, flow: Flow, skip: int = -1) -> None:
        slot = self._next_slot()
        if slot == skip:  # its ping of this round has just been sent
            slot = (slot + len(self._slots) // 2) % len(self._slots)
        self._slots[slot][flow] = None
        self._where[flow] = slot

    def _next_slot(self) -> int:
        """One of the emptiest. They are all looked at once for each round in which each of them gets a flow."""
        while self._emptiest:
            slot = self._emptiest.pop()
            if len(self._slots[slot]) == self._least:
                return slot
        sizes = list(map(len, self._slots))
        self._least = min(sizes)
        self._emptiest = [slot for slot, size in enumerate(sizes) if size == self._least]
        self._emptiest.reverse()
        return self._emptiest.pop()

    def __len__(self) -> int:
        return len(self._where)
