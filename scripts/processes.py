"""Child processes that end with their parent, each with a log of its own, in a network namespace where asked."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL("libc.so.6", use_errno=True)
_Result = TypeVar("_Result")


class StartError(Exception):
    """A process didn't come up; the text has the end of its log."""


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def in_namespace(namespace: str | None, work: Callable[[], _Result]) -> _Result:
    """Run ``work`` in a thread that has entered ``namespace``; sockets made there stay there."""
    if namespace is None:
        return work()
    results: list[_Result] = []
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            with open(f"/var/run/netns/{namespace}", "rb") as file:
                if _libc.setns(file.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def wait_for(what: str, ready: Callable[[], _Result | None], seconds: float) -> _Result:
    """Poll ``ready`` until it gives something true. Raises StartError after ``seconds``, or more where the machine has
    more to do than its processors can."""
    begun = time.monotonic()
    while True:
        found = ready()
        if found:
            return found
        if time.monotonic() - begun > seconds * max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1)):
            raise StartError(f"{what} wasn't ready within {seconds:g} s")
        time.sleep(0.05)


class Processes:
    """What was started, by name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        namespace: str | None = None,
        stdin: int = subprocess.DEVNULL,
        files: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start ``command``; its output goes to ``NAME.log``. It has the descriptors ``files`` too."""
        prefix = ["ip", "netns", "exec", namespace] if namespace else []
        with (self._directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*prefix, *command],
                env={**os.environ, **environment},
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=files,
                start_new_session=True,  # Ctrl-C is for us; we end the children in order
                preexec_fn=_die_with_parent,
            )
        self._running[name] = process
        return process

    def wait_until(self, name: str, ready: Callable[[], _Result | None], seconds: float = 20) -> _Result:
        """Poll ``ready``. Raises StartError if the process ends before, or takes too long."""

        def check() -> _Result | None:
            code = self._running[name].poll()
            if code is not None:
                raise StartError(f"{name} ended with status {code}: {self.last_words(name)}")
            return ready()

        try:
            return wait_for(name, check, seconds)
        except StartError as error:
            if name in str(error) and "ended" in str(error):
                raise
            raise StartError(f"{error}: {self.last_words(name)}") from None

    def last_words(self, name: str) -> str:
        """The end of its log."""
        path = self._directory / f"{name}.log"
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        return "\n".join(lines[-8:]) or "it said nothing"

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """As a crash would: SIGKILL."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def wait(self, name: str, seconds: float) -> int:
        """Until it ends by itself; its exit status."""
        status = self._running[name].wait(seconds)
        del self._running[name]
        return status

    def stop(self, name: str, seconds: float = 5) -> int:
        """SIGTERM, and SIGKILL for one that doesn't go. Its exit status."""
        process = self._running.pop(name)
        process.terminate()
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def ended(self) -> str | None:
        """The name of one that has ended by itself."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def stop_all(self) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)
