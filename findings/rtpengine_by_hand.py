"""rtpengine 10.5.3.5 of Debian 12 (amd64) in a folder of its own, asked in JSON: for the scripts beside this."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PORTS = range(41000, 41200)
_PACKAGES = "rtpengine-daemon=10.5.3.5-1+deb12u1"
_DEPENDS = "--recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances"


def _unpack(here: Path, packages: list[str]) -> None:
    subprocess.run(["apt-get", "download", "-q", *packages], cwd=here, check=True, capture_output=True)
    for package in here.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, here / "root"], check=True)


def _libraries(here: Path) -> dict[str, str]:
    folders = sorted({str(file.parent) for file in (here / "root").rglob("*.so*")})
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}


def _install(here: Path) -> Path:
    """The program; and what it needs and this machine hasn't got, of the same release."""
    program = here / "root/usr/bin/rtpengine"
    _unpack(here, [_PACKAGES])
    needed = subprocess.run(["ldd", program], env=_libraries(here), capture_output=True, text=True, check=True)
    if "not found" in needed.stdout:
        command = ["apt-cache", "depends", *_DEPENDS.split(), "rtpengine-daemon"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        there = ("libc6", "libgcc")
        _unpack(here, sorted({name for name in found if name.startswith("lib") and not name.startswith(there)}))
    return program


class Engine:
    def __init__(self, port: int) -> None:
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._control.connect(("127.0.0.1", port))
        self._control.settimeout(1)
        self._number = 0

    def ask(self, command: str, call: str = "", **more: Any) -> dict[str, Any]:
        self._number += 1
        order = {"command": command, "call-id": call, **{name.replace("_", "-"): value for name, value in more.items()}}
        for _ in range(20):
            try:
                self._control.send(f"{self._number} {json.dumps(order)}".encode())
                answer: dict[str, Any] = json.loads(self._control.recv(65536).partition(b" ")[2])
                return answer
            except OSError:  # it is starting
                time.sleep(0.2)
        sys.exit("rtpengine doesn't answer")


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """As it is by default, on 127.0.0.1."""
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        program = _install(here)
        (here / "empty.conf").write_text("[rtpengine]\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"--foreground --log-stderr --table=-1 --interface=127.0.0.1 --listen-ng=127.0.0.1:{port}"
        ports = [f"--port-min={PORTS[0]}", f"--port-max={PORTS[-1]}"]
        command = [str(program), f"--config-file={here}/empty.conf", *options.split(), *ports]
        process = subprocess.Popen(command, env=_libraries(here), stderr=subprocess.DEVNULL)
        try:
            made = Engine(port)
            made.ask("ping")
            yield made
        finally:
            process.kill()
            process.wait()


def sdp(port: int) -> str:
    return f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"
