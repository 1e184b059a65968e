"""The process of an engine: rtpengine, one for each edge address held here. It outlives the edge's process.

Where the edge is a service of systemd, so is each engine (``rtpengine@ADDRESS.service``), which a polkit rule lets the
edge start and stop; elsewhere it is a child in a session of its own, which kills of the edge don't reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import NamedTuple

from edge.config import Config

log = logging.getLogger(__name__)

PROGRAM = "rtpengine"
NG_HOST = "127.0.0.1"
_UNIT = Path("/etc/systemd/system/rtpengine@.service")
_FORGOTTEN = 4 * 3600
"""Seconds after which the engine itself forgets a session without packets: one that no edge has asked it about."""
_UNANSWERED = 300  # seconds for an offer without an answer: longer than any INVITE rings (Timer C)
_EXPEDITED = 184  # TOS octet of DSCP EF (RFC 3246)


class EnginePlace(NamedTuple):
    """Where the media of ``address`` are on this machine: at ``host``, those of its IPv6 side ``address6`` at
    ``host6``; "" where there is none."""

    address: str
    host: str
    address6: str = ""
    host6: str = ""

    def interfaces(self) -> list[str]:
        """Of the engine; it knows its sessions again by the name only."""
        sides = [(self.host, self.address), (self.host6, self.address6)]
        return [f"media/{host}" + (f"!{side}" if side not in ("", host) else "") for host, side in sides if host]


def installed() -> bool:
    """Whether there is such a program on this machine."""
    return shutil.which(PROGRAM) is not None


class EngineProcess:
    """Its files are in ``directory``: settings, process number, and a child's log. ``redis`` is where it keeps its
    sessions, with the password for that."""

    def __init__(self, config: Config, place: EnginePlace, redis: str) -> None:
        self._redis = redis
        self._ports = config.media_range
        self._place = place
        self._interfaces = place.interfaces()
        if config.media_interface and place.address == config.address:
            self._interfaces[0] = f"media/{config.media_interface}"
        directory = (config.state / "engines").absolute()
        self._settings = directory / f"{place.address}.conf"
        self._pid_file = directory / f"{place.address}.pid"
        self._log = directory / f"{place.address}.log"
        self._child: asyncio.subprocess.Process | None = None
        self._unit = f"rtpengine@{place.address}.service" if "INVOCATION_ID" in os.environ and _UNIT.exists() else ""

    def port(self) -> int:
        """Where its ng protocol is spoken (by UDP) and its CLI (by TCP), as the settings say; 0 if there are none that
        are as they would be now."""
        try:
            text = self._settings.read_text(encoding="utf-8")
        except OSError:
            return 0
        _, _, rest = text.partition(f"listen-ng = {NG_HOST}:")
        port = rest.partition("\n")[0]
        return int(port) if port.isdecimal() and text == self._written(int(port)) else 0

    def _written(self, port: int) -> str:
        low, high = self._ports
        settings = {
            "table": -1,  # packets are relayed in user space
            "interface": ";".join(self._interfaces),
            "listen-ng": f"{NG_HOST}:{port}",
            "listen-cli": f"{NG_HOST}:{port}",
            "redis": self._redis,
            "redis-num-threads": 4,  # by which it restores sessions
            "port-min": low,
            "port-max": high,
            "pidfile": self._pid_file,
            "timeout": _FORGOTTEN,
            "silent-timeout": _FORGOTTEN,
            "offer-timeout": _UNANSWERED,
            "delete-delay": 0,
            "endpoint-learning": "immediate",
            # A browser keeps a ClientHello that comes before its answer, be it of a branch that loses: say none first.
            "dtls-passive": "true",
            "tos": _EXPEDITED,
            # Of commands that it can't read it logs all at the level of warnings, keys of SRTP too.
            "log-level": 4,
            "log-level-control": 3,
        }
        return "[rtpengine]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())

    async def start(self) -> int:
        """Start it anew, whatever runs of it; where it is spoken to. Raises OSError."""
        await self.stop()
        self._settings.parent.mkdir(mode=0o700, exist_ok=True)
        port = _free_port()
        self._settings.unlink(missing_ok=True)
        with os.fdopen(os.open(self._settings, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._written(port))
        if self._unit:
            await _systemctl("start", self._unit)
        else:
            with self._log.open("ab") as output:
                self._child = await asyncio.create_subprocess_exec(
                    PROGRAM, "--foreground", "--log-stderr", f"--config-file={self._settings}",
                    stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
        return port

    @property
    def failed(self) -> bool:
        """Whether what was started has ended by itself; a service's is started again by systemd."""
        return self._child is not None and self._child.returncode is not None

    async def stop(self) -> None:
        """End it, with all its sessions."""
        if self._unit:
            await _systemctl("stop", self._unit)
        elif (watched := self._watch()) is not None:
            try:
                signal.pidfd_send_signal(watched, signal.SIGTERM)
                await _readable(watched)
            finally:
                os.close(watched)
            if self._child is not None:
                await self._child.wait()

    async def ended(self) -> None:
        """Wait until it has ended, for whatever reason."""
        watched = self._watch()
        if watched is not None:
            try:
                await _readable(watched)
            finally:
                os.close(watched)

    def _watch(self) -> int | None:
        """A descriptor of the process (pidfd_open(2)); None if it doesn't run. Its number may be another's by now."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text(encoding="ascii"))
            watched = os.pidfd_open(pid)
            if str(self._settings).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return watched
            os.close(watched)
        return None


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)


async def _systemctl(verb: str, unit: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "systemctl", "--no-ask-password", verb, unit, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        raise OSError(f"systemctl {verb} {unit}: {said.decode(errors='replace').strip()[-300:]}")


def _free_port() -> int:
    """By TCP and by UDP."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            contextlib.suppress(OSError),
        ):
            udp.bind((NG_HOST, 0))
            port = int(udp.getsockname()[1])
            tcp.bind((NG_HOST, port))
            return port
