"""What ``scripts/bench kamailio`` asks of a server: SIPp by UDP, phones of ours by what SIPp doesn't have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from scripts.bench_servers import Account, SipServer
from scripts.fleet_parts import DOMAIN
from scripts.load_process import LoadProcess
from scripts.sipp_run import Outcome, Sipp

EACH = 20
"""REGISTERs of one Call-ID and nonce in the case "refresh", of which the first is decided."""
MANY, FEW, PAIRS = 1000, 100, 20
"""Accounts that refresh, that register or call; of the latter, pairs that call each other."""
_CONNECTIONS = 200  # of phones on streams that refresh
_PHONE, _CALLEE = 7000, 7001  # ports of SIPp's


class Load(Protocol):
    """What is asked of one server, in the cases "refresh", "options", "register" and "call"."""

    def ready(self, case: str) -> None:
        """What has to be done before ``run``, and isn't counted."""

    def run(self, case: str, rate: float, seconds: float) -> Outcome:
        """``rate`` operations begun a second."""

    def close(self) -> None: ...


class SippLoad:
    """By UDP. ``many`` accounts refresh, ``few`` register or call."""

    def __init__(self, directory: Path, server: SipServer, many: Sequence[Account], few: Sequence[Account]) -> None:
        self._sipp = Sipp(directory, server.address, server.address)
        callers, callees, others = few[:PAIRS], few[PAIRS : 2 * PAIRS], few[2 * PAIRS :]
        called = [user for user, _ in callees]
        # Of each case: the scenario, and the file of its accounts.
        self._runs = {
            "refresh": ("refresh", self._sipp.accounts(map(_line, many))),
            "options": ("options", self._sipp.accounts([_line(many[0])])),
            "register": ("register", self._sipp.accounts(map(_line, others))),
            "call": ("caller", self._sipp.accounts(map(_line, callers, called))),
        }
        self._callees = self._sipp.accounts(map(_line, callees))

    def ready(self, case: str) -> None:
        self.close()
        self._register(_PHONE, self._runs["options"][1], 1)  # strangers would get few answers
        if case == "call":
            self._register(_PHONE, self._runs[case][1], PAIRS)
            self._register(_CALLEE, self._callees, PAIRS)
            self._sipp.start("callee", _CALLEE, self._callees)

    def _register(self, port: int, accounts: Path, number: int) -> None:
        outcome = self._sipp.run("register", port, accounts, number, 10)
        if outcome.failed:
            raise RuntimeError(f"{outcome.failed} of {number} phones couldn't register")

    def run(self, case: str, rate: float, seconds: float) -> Outcome:
        scenario, accounts = self._runs[case]
        each = EACH if case == "refresh" else 1
        outcome = self._sipp.run(scenario, _PHONE, accounts, max(1, round(rate / each * seconds)), rate / each)
        return Outcome(outcome.done * each, outcome.failed * each, outcome.retransmitted)

    def close(self) -> None:
        self._sipp.stop()


def _line(account: Account, called: str = "") -> str:
    """As SIPp reads it."""
    user, password = account
    return f"{user};{DOMAIN};[authentication username={user} password={password}];{called}"


class PhoneLoad:
    """By streams, all cases but calls (those are scripts/bench_media.py's). Nothing is retransmitted there."""

    def __init__(
        self, directory: Path, server: SipServer, transport: str, many: Sequence[Account], few: Sequence[Account]
    ) -> None:
        self._server, self._transport = server, transport
        # Of each case: what is ordered, and whose phones do it.
        refreshing, deciding = many[:_CONNECTIONS], few
        self._runs = {"refresh": ("register", EACH), "options": ("options", 1), "register": ("register", 1)}
        self._accounts = {"refresh": refreshing, "options": refreshing, "register": deciding}
        self._load = LoadProcess(directory, "scripts.register_load")
        self._there: Iterable[Account] = ()

    def ready(self, case: str) -> None:
        if self._there is not self._accounts[case]:
            self._there = self._accounts[case]
            self._order("phones", accounts=self._there, stay=True)

    def run(self, case: str, rate: float, seconds: float) -> Outcome:
        do, each = self._runs[case]
        done = self._order(do, rate=rate, seconds=seconds, each=each)
        return Outcome(done["done"], done["failed"], 0)

    def _order(self, do: str, **more: object) -> dict[str, int]:
        return self._load.order(self._server, self._transport, do, **more)

    def close(self) -> None:
        self._load.close()
