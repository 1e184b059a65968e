"""How a load reads its orders: lines of JSON, an order and its answer."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any

Order = dict[str, Any]


async def serve(orders: Mapping[str, Callable[[Order], Awaitable[Order]]]) -> None:
    """Carry out what is ordered, by its name, until nobody orders any more."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        print(json.dumps(await orders[order["do"]](order)), flush=True)


def place(order: Order) -> tuple[tuple[str, int], str, ssl.SSLContext | None, str]:
    """Of the server that an order is about: where it is, the address to ask it from, whom its certificate has to be
    by, and what it has to name."""
    context = _trusting(order["ca"]) if order["transport"] in ("tls", "wss") else None
    return (order["host"], order["port"]), order["own"], context, order["name"]


@lru_cache(8)
def _trusting(ca: str) -> ssl.SSLContext:
    """One for all of a load's phones: it takes longer to make than a handshake."""
    return ssl.create_default_context(cafile=ca)
