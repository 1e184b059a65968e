"""``scripts/bench slow``: what phones notice of a control plane that takes its time: emulated for REGISTERs, and the
real one with as much put before each decision for calls, whose phones answer at once."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts import quick_control
from scripts.bench_servers import EdgeServer
from scripts.bench_storm import emulated
from scripts.fleet_parts import DOMAIN, SIP, Host, PhoneAccount
from scripts.load_process import LoadProcess
from tests.support.socket_phone import SocketPhone, call, in_dialog

DELAYS = (0.0, 0.01, 0.05, 0.2)
_PHONES, _PER_SECOND = 200, 10
_CALLS = 40


def slow(say: Callable[..., None], delays: Sequence[float] = DELAYS) -> None:
    """Registrations, ten a second, and calls, one after the other, with each delay."""
    for delay in delays:
        with tempfile.TemporaryDirectory(prefix="sipwizard-bench-") as scratch, emulated(Path(scratch), delay) as found:
            edge, _ = found
            case = f"slow, {delay * 1000:.0f} ms"
            load = LoadProcess(Path(scratch), "scripts.register_load")
            try:
                accounts = [(quick_control.username(number), quick_control.PASSWORD) for number in range(_PHONES)]
                over = _PHONES / _PER_SECOND
                registered = load.order(edge, "udp", "storm", accounts=accounts, over=over, seconds=over + 10)
            finally:
                load.close()
            say(case, registered["half"] * 1000, "ms for a REGISTER, half of them", failed=registered["failed"])
            say(case, registered["most"] * 1000, "ms for a REGISTER, 99 of 100")
            took = _calls(edge)
            say(case, statistics.median(took) * 1000, "ms from INVITE to 200, half of them", calls=len(took))
            say(case, took[len(took) * 99 // 100] * 1000, "ms from INVITE to 200, 99 of 100")


def _calls(edge: EdgeServer) -> list[float]:
    """Seconds of each, the shortest first."""
    accounts = [PhoneAccount(f"{user}@{DOMAIN}", user, password) for user, password in edge.accounts(2)]
    took = []
    with contextlib.ExitStack() as stack:
        caller, callee = phones = [
            stack.enter_context(SocketPhone(one, DOMAIN, Host(edge.address), (edge.address, SIP))) for one in accounts
        ]
        for phone in phones:
            assert phone.register() == 200
        for _ in range(_CALLS):
            for phone in phones:
                phone.agent.received.clear()
            begun = time.monotonic()
            dialog, _ = call(caller, callee, f"sip:{accounts[1].aor}")
            took.append(time.monotonic() - begun)
            in_dialog(caller, dialog, "BYE", callee)
    return sorted(took)
