"""``python -m tests.support.renewals``: the function that renews certificates, held to what ``template.yaml`` allows it.
Each line of its input is one run: for how many seconds, and how far its clock is ahead. What came of it is a line of its
output."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping

from tests.support import permissions

_HURRY = 0.2  # of the time that a step waits for the authority: this one is near


class Renewals:
    """That program, as a test drives it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.renewals"],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, seconds: float = 20.0, ahead: float = 0.0) -> str:
        """What it has logged."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([seconds, ahead]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the function's process has ended; see its errors"
        return str(json.loads(line))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def _logged() -> Iterator[io.StringIO]:
    into = io.StringIO()
    handler = logging.StreamHandler(into)
    logging.getLogger("lambdas").addHandler(handler)
    logging.getLogger("lambdas").setLevel(logging.INFO)
    try:
        yield into
    finally:
        logging.getLogger("lambdas").removeHandler(handler)


def main() -> None:
    permissions.hold("CertificatesFunction")
    from lambdas.certificates.renewing import Renewing
    from lambdas.certificates.settings import AcmeSettings
    from lambdas.certificates.zones import Zones
    from lambdas.lookups.aliases import Aliases
    from lambdas.repositories.tables import Tables

    settings = AcmeSettings.read()
    tables = Tables.open()
    for line in sys.stdin:
        seconds, ahead = json.loads(line)
        renewing = Renewing(
            settings,
            tables,
            Zones(),
            Aliases(),
            clock=lambda ahead=ahead: time.time() + ahead,
            sleep=lambda waited: time.sleep(waited * _HURRY),
        )
        with _logged() as said:
            if not renewing.run(seconds):
                said.write("it is somebody else's turn")
        print(json.dumps(said.getvalue()), flush=True)


if __name__ == "__main__":
    main()
