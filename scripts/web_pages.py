"""Pages with web phones: their scripts are bundled with what scripts/web/package-lock.json pins, and served on this
machine only."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from scripts.fleet_parts import ROOT, Host
from scripts.processes import StartError, in_namespace

SOURCES = ROOT / "scripts" / "web"
_PINS = ("package.json", "package-lock.json", ".npmrc")
_PACKAGES = ROOT / ".local" / "npm"


def make_page(page: Path, directory: Path) -> None:
    """Put ``page`` (``index.html``, say), the script of that name's folder that it loads, bundled, and the licences of
    what is in the bundle into ``directory``."""
    modules = _installed()
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(page, directory / page.name)
    for script in sorted(page.parent.glob("page*.js")):
        _run(
            [str(modules / ".bin" / "esbuild"), str(script), "--bundle", "--minify", f"--outdir={directory}"],
            {"NODE_PATH": str(modules)},
        )
    (directory / "licences.txt").write_text(_licences(modules))


def _installed() -> Path:
    """The folder of the packages, got if they aren't there."""
    _PACKAGES.mkdir(parents=True, exist_ok=True)
    modules = _PACKAGES / "node_modules"
    wanted = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()
    stamp = _PACKAGES / "stamp"
    with (_PACKAGES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            for name in _PINS:
                shutil.copyfile(SOURCES / name, _PACKAGES / name)
            _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], {}, _PACKAGES)
            stamp.write_text(wanted)
    return modules


def _run(command: list[str], environment: Mapping[str, str], directory: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=directory, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise StartError(f"{command[0]} isn't installed; on Debian: apt-get install npm") from error
    if done.returncode:
        raise StartError(f"{' '.join(command[:2])}: {done.stderr.strip()[-2000:]}")


def _licences(modules: Path) -> str:
    texts = []
    for package in sorted(path.parent for path in modules.glob("*/package.json")):
        for licence in sorted(package.glob("LICEN[CS]E*")):
            texts.append(f"{package.name}\n\n{licence.read_text()}")
    return f"\n\n{'-' * 40}\n\n".join(texts)


class PageServer:
    """Serves what is in ``directory`` at ``url``, from when it is made until ``close``."""

    def __init__(self, directory: Path, host: Host, port: int = 0) -> None:
        """Raises OSError where the port is in use. ``directory`` may still be empty."""
        directory.mkdir(parents=True, exist_ok=True)
        handler = partial(_Handler, directory=str(directory))
        self._server = in_namespace(host.namespace, lambda: ThreadingHTTPServer((host.address, port), handler))
        self._server.daemon_threads = True
        self.origin = f"http://{host.address}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""
