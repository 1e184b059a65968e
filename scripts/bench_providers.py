"""The registration agent with many accounts: memory, and CPU of a refresh."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edge.proxy.core import Core
from edge.proxy.stack.events import FleetChanged, ProvidersAssigned, Received, Resolve, Resolved, Send, Tick
from edge.sip.message import Header, Request, make_response
from edge.sip.parser import parse
from lambdas.contract import ProviderAccount, Secret, Server

_SERVER = ("udp", "198.51.100.1", 5060)


class _Provider:
    """Answers REGISTERs at once, as the network would, without a digest: that is the provider's business."""

    def __init__(self, core: Core, now: float) -> None:
        self.core = core
        self.now = now
        self.registers = 0

    def run(self, until: float) -> None:
        while (deadline := self.core.deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self._follow(self.core.handle(Tick(), self.now))

    def _follow(self, actions: list[Any]) -> None:
        pending = list(actions)
        while pending:
            action = pending.pop()
            if isinstance(action, Resolve):
                pending += self.core.handle(Resolved(action.ref, [_SERVER], ""), self.now)
            elif isinstance(action, Send) and action.data.startswith(b"REGISTER"):
                self.registers += 1
                request = parse(action.data)
                assert isinstance(request, Request)
                contact: Header = ("contact", f"Contact: {request.get('contact')}")
                answer = make_response(request, 200, to_tag="r", headers=[contact]).to_bytes()
                pending += self.core.handle(Received(action.flow, answer), self.now)


def _account(number: int) -> ProviderAccount:
    return ProviderAccount(
        id=f"t{number:012x}/voip",
        version=1,
        enabled=True,
        server=Server(host="sip.example.net"),
        registrar="sip:sip.example.net",
        aor=f"sip:{number}@sip.example.net",
        secret=Secret(username=str(number), password=f"secret-{number}"),
        contact_user=f"{number:024x}",
        call_id=f"{number:032x}",
        expires=3600,
    )


def providers(say: Callable[..., None], core: Core, accounts: int) -> None:
    """``core`` holds an address; all ``accounts`` are registered from it."""
    fleet = core.stack.fleet
    (address,) = fleet.epochs
    core.handle(FleetChanged(replace(fleet, exclusive={address: (0.0, float("inf"))})), 0.0)
    made = [_account(number) for number in range(accounts)]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    core.handle(ProvidersAssigned(address, made, [], True), 0.0)
    provider = _Provider(core, 0.0)
    provider.run(3600.0 - 100)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert core.agent.registered() == accounts
    say("provider memory", held / accounts / 1024, "KB an account", accounts=accounts)
    first = provider.registers
    begun = time.process_time()
    provider.run(2 * 3600.0 - 100)
    refreshes = provider.registers - first
    spent = time.process_time() - begun
    say("provider refresh", spent / refreshes * 1e6, "µs CPU, the provider's side included", refreshes=refreshes)
