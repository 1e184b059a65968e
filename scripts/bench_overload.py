"""``scripts/bench overload``: what an edge gets done when more is offered than it can do, as a curve.

A real core behind a socket's buffer, in virtual time: what comes waits in the buffer, which loses what it has no room
for, and each message takes as long as the core takes for it here (CPU time, the median of its kind so far, so that the
machine's other work doesn't count). Phones, their retransmissions and the control plane (20 ms) cost nothing. Offered
are refreshes and calls (INVITE to BYE, 2 s long), half of the time each. Goodput is what was done within 4 s: a refresh
with its 200, a call with its answered BYE."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import cast

from edge.proxy.stack.events import CoreEvent, Received
from edge.runtime.bans import Bans
from edge.runtime.crowding import Crowding
from edge.runtime.inbound import Inbound
from edge.runtime.trace import Trace
from edge.runtime.waiting import Waiting
from edge.sip.message import Message, Request, Response
from edge.sip.parser import parse
from edge.sip.timers import T1, T2
from edge.sip.transaction.client import make_ack
from scripts.fleet_parts import ROOT
from tests.support.control import DOMAIN
from tests.support.world import Phone, World

PICTURE = ROOT / "docs" / "overload.svg"
_BUFFER = 425_984  # octets: what Linux lets a socket have by default (rmem_max, doubled)
_DATAGRAM = 2_304  # octets that the kernel counts for one of some hundred
_IN_TIME = 4.0
_LASTS = 2.0  # seconds of a call
_KNOWN = 100  # messages of a kind, whose median counts
_STEPS = (0.5, 1.0, 1.5, 2.0, 3.0)
_SLOWER = 5.0
"""Times slower than here the core is, so that as many messages make a longer run."""


class BusyEdge:
    """A world with one edge, whose core takes its time. ``refusing``: as it does in life; else it takes whatever
    comes."""

    def __init__(self, pairs: int, refusing: bool) -> None:
        self.world = World(1)
        self.node = self.world.nodes["edge-a"]
        self._handle = self.node.handle
        self._waiting: deque[Received] = deque()
        self._free_at = 0.0
        self.spent = 0.0  # seconds of the core
        self._took: dict[str, list[float]] = defaultdict(list)
        crowding = Crowding(lambda: len(self._waiting) * _DATAGRAM if refusing else 0)
        trace = cast(Trace, SimpleNamespace(wanted=False))
        self._inbound = Inbound(
            self._handle, self.node.core.stack, Bans(), trace, Waiting(), lambda flow: False, crowding
        )
        self._inbound._shedding.message = lambda flow, data, deliver: deliver(flow, data)  # type: ignore[method-assign]
        self.pairs = [OfferingPair(self.world, number) for number in range(pairs)]
        self.node.handle = self._comes  # type: ignore[method-assign]
        self.lost = 0

    def _comes(self, event: CoreEvent) -> None:
        if not isinstance(event, Received):
            self._spend(type(event).__name__, partial(self._handle, event))
        elif (len(self._waiting) + 1) * _DATAGRAM > _BUFFER:
            self.lost += 1
        else:
            self._waiting.append(event)
            if len(self._waiting) == 1:
                self.world.at(max(self.world.now, self._free_at), self._serve)

    def _serve(self) -> None:
        if self.world.now < self._free_at:  # a decision or a timer came between
            self.world.at(self._free_at, self._serve)
            return
        event = self._waiting[0]
        kind = " ".join(event.data[:40].decode(errors="replace").split(" ")[:2])
        kind = kind if kind.startswith("SIP") else kind.split(" ")[0] + str(b"uthorization" in event.data)
        refused = self.node.core.stack.counters["crowded"]
        begun = time.thread_time()
        self._inbound.message(event.flow, event.data)
        took = time.thread_time() - begun
        self._note(kind + str(self.node.core.stack.counters["crowded"] - refused), took)
        self._waiting.popleft()
        if self._waiting:
            self.world.at(self._free_at, self._serve)

    def _spend(self, kind: str, work: Callable[[], None]) -> None:
        begun = time.thread_time()
        work()
        self._note(kind, time.thread_time() - begun)

    def _note(self, kind: str, took: float) -> None:
        known = self._took[kind]
        if len(known) < _KNOWN:
            known.append(took)
        takes = _SLOWER * statistics.median_low(known)
        self.spent += takes
        self._free_at = max(self.world.now, self._free_at) + takes


class OfferingPair:
    """Two phones that are registered, one of which refreshes while none of them does anything else, and calls the
    other. ``done`` counts what was done in time, by kind, ``begun`` the calls, ``refused`` those that were refused with
    503."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.caller, self._callee = world.phone(f"a{number}"), world.phone(f"b{number}")
        self.done: Counter[str] = Counter()
        self.begun = self.refused = 0
        self.busy = False
        for phone in (self.caller, self._callee):
            assert phone.register() == 200
        agent = self.caller.agent
        self._challenge = agent.responses("REGISTER")[0]
        self._answered: set[str] = set()  # branches
        self._heard: Callable[[Message], None] = lambda message: None
        for phone, heard in ((self.caller, self._caller_hears), (self._callee, self._callee_hears)):
            phone.agent.take = partial(self._take, phone, heard)  # type: ignore[method-assign]

    def _take(self, phone: Phone, heard: Callable[[Message], None], data: bytes) -> Message:
        message = parse(data)
        if isinstance(message, Request) and message.method == "OPTIONS":
            phone.send(phone.agent.response(message, 200).to_bytes())
        else:
            heard(message)
        return message

    def _ask(self, request: Request, heard: Callable[[Response], None]) -> None:
        """Send it until it is answered (RFC 3261 §17.1), for as long as that is in time; ``heard`` gets the final
        response."""
        wire, begun = request.to_bytes(), self._world.now
        branch = branch_of(request)
        self.busy, got = True, False

        def hears(message: Message) -> None:
            nonlocal got
            if isinstance(message, Response) and message.status >= 200 and branch_of(message) == branch:
                if message.status >= 300 and request.method == "INVITE":
                    self.caller.send(make_ack(request, message).to_bytes())
                if not got:
                    got = True
                    heard(message)

        def send(after: float) -> None:
            if got or self._heard is not hears:
                return
            if self._world.now - begun >= _IN_TIME:
                self.busy = False
                self._heard = lambda message: None
                return
            self.caller.send(wire)
            self._world.after(after, partial(send, 2 * after))

        self._heard = hears
        send(T1)

    def _caller_hears(self, message: Message) -> None:
        if isinstance(message, Request):  # nobody else begins anything
            self.caller.send(self.caller.agent.response(message, 200).to_bytes())
        else:
            self._heard(message)

    def refresh(self) -> None:
        begun, agent = self._world.now, self.caller.agent
        request = agent.authorize(agent.register_request(3600), self._challenge)

        def answered(response: Response) -> None:
            if response.status == 401:
                self._challenge = response
                self._ask(agent.authorize(request, response), answered)
                return
            self.busy = False
            self.done["refresh"] += response.status == 200 and self._world.now - begun <= _IN_TIME

        self._ask(request, answered)

    def call(self) -> None:
        self.begun += 1
        begun, agent = self._world.now, self.caller.agent
        invite = agent.invite_request(f"sip:{self._callee.agent.username}@{DOMAIN}")

        def answered(response: Response) -> None:
            nonlocal invite
            if response.status == 407:
                invite = agent.authorize(invite, response)
                self._ask(invite, answered)
            elif response.status == 200:
                dialog = agent.caller_dialog(invite, response)
                self.caller.send(agent.in_dialog(dialog, "ACK").to_bytes())
                late = self._world.now - begun > _IN_TIME
                self._world.after(_LASTS, lambda: self._ask(agent.in_dialog(dialog, "BYE"), partial(ended, late)))
            else:
                self.busy = False
                self.refused += response.status == 503

        def ended(late: bool, response: Response) -> None:
            self.busy = False
            self.done["call"] += response.status == 200 and not late

        self._ask(invite, answered)

    def _callee_hears(self, message: Message) -> None:
        if not isinstance(message, Request):
            return
        if message.method == "ACK":
            self._answered.add(message.get("call-id") or "")
            return
        answer = self._callee.agent.response(message, 200).to_bytes()
        if message.method != "INVITE":
            self._callee.send(answer)
            return
        call, until = message.get("call-id") or "", self._world.now + _IN_TIME

        def send(after: float) -> None:
            if call not in self._answered and self._world.now < until:
                self._callee.send(answer)
                self._world.after(after, partial(send, min(2 * after, T2)))

        send(T1)


def branch_of(message: Message) -> str:
    return (message.get("via") or "").partition("branch=")[2].partition(";")[0]


def overload(say: Callable[..., None], seconds: float, pairs: int, picture: bool) -> None:
    """Measure and say each step, and with ``picture`` draw it."""
    each = _costs()
    for kind, cost in each.items():
        say(f"overload, a {kind}", cost * 1e6, "µs of the core", slower=_SLOWER)
    curves: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for refusing, found in curves.items():
        for load in _STEPS:
            found.append(_offer(load, each, seconds, pairs, refusing))
            name = "overload" if refusing else "overload, nothing refused"
            say(name, found[-1]["goodput"], "of what it can do", **found[-1])
    if picture:
        PICTURE.write_text(_drawn(curves), encoding="utf-8")


def _costs() -> dict[str, float]:
    """Seconds of the core for each, when little is asked of it."""
    found = {}
    for kind in ("refresh", "call"):
        busy = BusyEdge(20, refusing=True)
        before, at = busy.spent, busy.world.now
        for number in range(100):
            pair = busy.pairs[number % 20]
            busy.world.run(0.2)
            if not pair.busy:
                getattr(pair, kind)()
        busy.world.run(5.0)
        idle, idle_at = busy.spent, busy.world.now
        busy.world.run(idle_at - at)  # pings, which are no refresh's
        done = sum(one.done[kind] for one in busy.pairs)
        found[kind] = max(1e-6, (idle - before) - (busy.spent - idle)) / done
    return found


def _offer(load: float, each: dict[str, float], seconds: float, pairs: int, refusing: bool) -> dict[str, float]:
    """``load`` times what it can do, half of that time for each kind."""
    busy = BusyEdge(pairs, refusing)
    busy.world.run(5.0)
    rates = {kind: load / 2 / cost for kind, cost in each.items()}
    begun, offered = busy.world.now, Counter[str]()
    free = deque(busy.pairs)
    while (passed := busy.world.now - begun) < seconds:
        for kind, rate in rates.items():
            while offered[kind] < passed * rate:
                offered[kind] += 1
                for _ in range(len(free)):
                    pair = free[0]
                    free.rotate(-1)
                    if not pair.busy:
                        getattr(pair, kind)()
                        break
        busy.world.run(0.01)
    busy.world.run(2 * _IN_TIME + _LASTS)
    done = {kind: sum(pair.done[kind] for pair in busy.pairs) for kind in each}
    refused = sum(pair.refused for pair in busy.pairs)
    used = {kind: done[kind] * each[kind] / seconds for kind in each}
    return {
        "offered": load,
        "goodput": round(sum(used.values()), 3),
        "refreshes": round(done["refresh"] / offered["refresh"], 3),
        "calls": round(done["call"] / offered["call"], 3),
        "refused": refused,
        "broken": sum(pair.begun for pair in busy.pairs) - refused - done["call"],
        "lost": busy.lost,
    }


_WIDTH, _HEIGHT, _LEFT, _LOW = 560, 320, 50, 270  # of the picture, and where its axes cross
_INK = {True: ("#1b6ca8", "new calls refused with 503"), False: ("#b8442f", "everything taken as it comes")}


def _drawn(curves: dict[bool, list[dict[str, float]]]) -> str:
    """As SVG: goodput over what is offered, both in what the core can do; dashed the part of refreshes that are
    done."""
    across, up = (_WIDTH - _LEFT - 20) / max(_STEPS), (_LOW - 20) / 1.4

    def at(offered: float, good: float) -> str:
        return f"{_LEFT + offered * across:.1f},{_LOW - good * up:.1f}"

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<path d="M{_LEFT},20V{_LOW}H{_WIDTH - 20}" fill="none" stroke="#444"/>',
        f'<polyline points="{at(0, 0)} {at(1, 1)} {at(max(_STEPS), 1)}" fill="none" stroke="#999" '
        'stroke-dasharray="4"/>',
    ]
    for number in range(1, round(max(_STEPS)) + 1):
        lines.append(f'<text x="{_LEFT + number * across:.1f}" y="{_LOW + 16}" text-anchor="middle">{number}</text>')
    for good in (0.5, 1.0):
        lines.append(f'<text x="{_LEFT - 8}" y="{_LOW - good * up + 4:.1f}" text-anchor="end">{good}</text>')
    lines.append(f'<text x="{_WIDTH / 2}" y="{_LOW + 36}" text-anchor="middle">offered, times what it can do</text>')
    lines.append(f'<text x="{_LEFT + 4}" y="14">done in time; dashed: of the refreshes</text>')
    for turn, (refusing, found) in enumerate(curves.items()):
        ink, says = _INK[refusing]
        points = " ".join([at(0, 0), *(at(one["offered"], one["goodput"]) for one in found)])
        lines.append(f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="2"/>')
        points = " ".join([at(0, 1), *(at(one["offered"], one["refreshes"]) for one in found)])
        lines.append(f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-dasharray="6 3"/>')
        lines.append(
            f'<text x="{_WIDTH - 24}" y="{_LOW - 40 + 18 * turn}" text-anchor="end" fill="{ink}">{says}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"
