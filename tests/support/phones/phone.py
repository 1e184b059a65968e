"""What all real phones have in common: a program that is told by lines what to do, and heard by what it writes."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from scripts.fleet_parts import Host, PhoneAccount
from scripts.processes import Processes, StartError

SIP_PORT = 5080
PATIENCE = 20.0  # seconds


class Phone:
    """A phone of ``account`` in ``domain`` at ``host``, with ``proxy`` (host, port) as its outbound proxy. By TLS it trusts
    what ``authority`` (a PEM file) has issued, and checks names."""

    program = ""  # what has to be installed
    module = ""  # a package that has to be installed, "" for none
    transports = ("udp", "tcp")
    saying: dict[str, str] = {}
    """What it writes when something has come about, as regular expressions by name: ``registered``, ``rings``,
    ``ringing`` (at the other end), ``connected``, ``ended``; ``refused``, where a certificate isn't what it should be."""

    def __init__(
        self,
        directory: Path,
        account: PhoneAccount,
        domain: str,
        host: Host,
        proxy: tuple[str, int],
        transport: str = "udp",
        expires: int = 3600,
        authority: Path | None = None,
    ) -> None:
        self.account = account
        self.domain = domain
        self.host = host
        self.proxy = f"[{proxy[0]}]:{proxy[1]}" if ":" in proxy[0] else f"{proxy[0]}:{proxy[1]}"
        self.transport = transport
        self.expires = expires
        self.authority = authority
        self.directory = directory / f"{type(self).__name__.lower()}-{account.username}"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._processes = Processes(self.directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin, and be registered."""
        self.begin()
        self.wait("registered")

    def begin(self) -> None:
        """With settings of one's own; it registers by itself."""
        self.configure()
        self._process = self._processes.start(
            "phone", self.command(), self.environment(), self.host.namespace, subprocess.PIPE
        )

    def configure(self) -> None:
        """Write what the program reads."""

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """``LANG``: what it says has to be what is waited for."""
        return {"HOME": str(self.directory), "LANG": "C", "TERM": "dumb"}

    def stop(self) -> None:
        """Quit as a user would, so that it unregisters."""
        if self._process is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self.quit()
                self._process.wait(5)
            self._close()
        self._processes.stop_all()

    def kill(self) -> None:
        """As a power cut would."""
        self._close()
        self._processes.kill("phone")

    def _close(self) -> None:
        """It is told nothing more."""
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def wait(self, name: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Until it says what ``name`` stands for, after what it was last waited for. Raises StartError with what it said
        instead."""
        pattern = re.compile(self.saying[name], re.MULTILINE)
        end = time.monotonic() + seconds
        while True:
            text = self.said()
            found = pattern.search(text, self._read)
            if found:
                self._read = found.end()
                return found
            if time.monotonic() > end:
                raise StartError(
                    f"{self.directory.name}: not {name} within {seconds:g} s:\n{text[self._read :][-3000:]}"
                )
            time.sleep(0.05)

    def said(self) -> str:
        """All that it has written."""
        path = self.directory / "phone.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # What users do: most programs take these words for it

    def call(self, uri: str) -> None:
        self.say(f"call {uri}")

    def answer(self) -> None:
        self.say("answer")

    def hang_up(self) -> None:
        """End the call, or give it up."""
        raise NotImplementedError

    def decline(self) -> None:
        self.hang_up()

    def hold(self) -> None:
        self.say("hold")

    def resume(self) -> None:
        raise NotImplementedError

    def transfer(self, uri: str) -> None:
        """Have the other end call ``uri`` instead."""
        self.say(f"transfer {uri}")

    def consult(self, uri: str) -> None:
        """A second call, while the first one is on hold."""
        raise NotImplementedError

    def join(self) -> None:
        """Have the first call's other end take the second call's place."""
        raise NotImplementedError

    def quit(self) -> None:
        self.say("quit")
