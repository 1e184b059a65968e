"""The side that has scripts run: gives a child its job, answers what it asks, and makes sense of its end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lambdas.sandbox.bounds import (
    AT_ONCE,
    AT_ONCE_FOR_ONE,
    LOG_LINE,
    LOG_LINES,
    MEMORY,
    RESULT,
    TOO_MUCH_TIME,
    WAIT,
    WALL,
)

log = logging.getLogger(__name__)

ScriptHost = Callable[[str, list[Any]], Any]
"""Answers what a script asks; raises Refusal where it may not have it."""

_LONGEST = RESULT + LOG_LINES * LOG_LINE * 6 + 4096  # octets in one line: JSON may take six for a character
_CAUSES = {
    signal.SIGPROF: TOO_MUCH_TIME,
    signal.SIGALRM: "it took too long",
    signal.SIGABRT: f"it used more than {MEMORY // 1024 // 1024} MB of memory",
    signal.SIGSEGV: "it is nested too deeply, or used too much memory",
    signal.SIGKILL: "it was killed",
}


class Refusal(Exception):
    """The host's no; the text is for whoever wrote the script."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run: ``value``, or why there is none in ``error``; what it wrote to its ``log``; which functions
    that tell of the world it has ``read``; seconds of processor time (``cpu``)."""

    value: Any = None
    error: str = ""
    log: tuple[str, ...] = ()
    read: frozenset[str] = frozenset()
    cpu: float = 0.0


class Sandbox:
    """One for each process. Starts its server when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._free = threading.Semaphore(AT_ONCE)
        self._running: Counter[str] = Counter()

    def run(self, owner: str, job: dict[str, Any], host: ScriptHost, seconds: float = WALL) -> Ran:
        """Run a script, for ``seconds`` at most. ``owner`` can't take everybody's places."""
        with self._place(owner) as why:
            if why:
                return Ran(error=why)
            try:
                channel = self._child()
            except OSError as error:
                log.error("scripts can't be run: %s", error)
                return Ran(error="scripts can't be run just now")
            with channel:
                return _converse(channel, {**job, "seconds": min(seconds, WALL)}, host)

    @contextlib.contextmanager
    def _place(self, owner: str) -> Iterator[str]:
        with self._lock:
            crowded = self._running[owner] >= AT_ONCE_FOR_ONE
            if not crowded:
                self._running[owner] += 1
        if crowded:
            yield f"more than {AT_ONCE_FOR_ONE} of your scripts run at once"
            return
        try:
            if not self._free.acquire(timeout=WAIT):
                yield "too many scripts run at once"
                return
            try:
                yield ""
            finally:
                self._free.release()
        finally:
            with self._lock:
                self._running[owner] -= 1
                if not self._running[owner]:
                    del self._running[owner]

    def _child(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(WALL + 1.0)
        with theirs, self._lock:
            for attempt in range(2):
                if self._control is None:
                    self._start()
                assert self._control is not None
                try:
                    socket.send_fds(self._control, [b"!"], [theirs.fileno()])
                    break
                except OSError:
                    self._stop()
                    if attempt:
                        ours.close()
                        raise
        return ours

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # Nothing of our environment: it may hold keys.
            self._server = subprocess.Popen(
                [sys.executable, "-m", "lambdas.sandbox.server"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            )
        self._control = ours

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._server is not None:
            self._server.wait()
        self._control = self._server = None

    def close(self) -> None:
        """End the server; it ends by itself when this process does."""
        with self._lock:
            self._stop()

    @property
    def pid(self) -> int:
        """The server's process; 0 before the first run."""
        return self._server.pid if self._server is not None else 0


def _converse(channel: socket.socket, job: dict[str, Any], host: ScriptHost) -> Ran:
    lines = channel.makefile("rb")
    try:
        channel.sendall(json.dumps(job).encode() + b"\n")
        while True:
            line = lines.readline(_LONGEST)
            if not line.endswith(b"\n"):
                return Ran(error="it ended without a result")
            said = json.loads(line)
            if "ask" in said:
                channel.sendall(json.dumps(_answer(said, host)).encode() + b"\n")
            elif "died" in said:
                number = said["died"]["signal"]
                why = _CAUSES.get(number, f"it ended by signal {number}" if number else "it broke")
                return Ran(error=why, cpu=said["died"]["cpu"])
            else:
                return Ran(
                    said.get("value"),
                    said.get("error", ""),
                    tuple(said["log"]),
                    frozenset(said["read"]),
                    said["cpu"],
                )
    except (OSError, ValueError, RecursionError) as error:
        return Ran(error=f"it didn't answer: {type(error).__name__}")
    finally:
        lines.close()


def _answer(said: dict[str, Any], host: ScriptHost) -> dict[str, Any]:
    try:
        return {"answer": host(said["ask"], said["arguments"])}
    except Refusal as error:
        return {"refused": str(error)}
    except Exception:
        log.exception("a script's question can't be answered: %s", said["ask"])
        return {"refused": f"{said['ask']}: the service has a fault; try again"}
