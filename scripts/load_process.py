"""A load in a process of its own, on the last core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.bench_servers import PORTS, SipServer, cores
from scripts.fleet_parts import DOMAIN, ROOT
from scripts.load_orders import Order


class LoadProcess:
    """``python -m MODULE``, which serves orders."""

    def __init__(self, directory: Path, module: str = "scripts.relay_load") -> None:
        self._errors = (directory / "load.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
        )
        os.sched_setaffinity(self._process.pid, {cores()[-1]})

    def order(self, server: SipServer, transport: str, do: str, **more: Any) -> Order:
        """Its answer. Raises RuntimeError, with what it has said last, where it has ended."""
        order = {
            "do": do,
            "transport": transport,
            "host": server.address,
            "port": PORTS[transport],
            "own": server.address,
            "name": DOMAIN,
            "domain": DOMAIN,
            "ca": str(server.ca),
            **more,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load has ended: {Path(self._errors.name).read_text()[-2000:]}")
        answer: Order = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._errors.close()
