"""Asking the peers where a phone is, while the control plane can't be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import TypeAdapter

from edge.mesh.peers import Mesh
from lambdas.contract import Target

_PATIENCE = 0.5  # seconds that peers have
_TARGETS = TypeAdapter(list[Target])


def write(targets: list[Target]) -> bytes:
    """What a peer is answered."""
    return _TARGETS.dump_json(targets)


@dataclass(slots=True)
class _Question:
    """How many peers have still to answer, and what they have said."""

    awaited: int
    targets: list[Target]
    timer: asyncio.TimerHandle


class PeerSearch:
    """``done`` gets each question's name and what was found."""

    def __init__(self, done: Callable[[str, list[Target]], None]) -> None:
        self._done = done
        self._questions: dict[str, _Question] = {}

    def ask(self, mesh: Mesh, ref: str, aor: str, tenant: str) -> None:
        asked = mesh.find(ref, aor, tenant)
        timer = asyncio.get_running_loop().call_later(_PATIENCE if asked else 0.0, self._end, ref)
        self._questions[ref] = _Question(asked, [], timer)

    def answered(self, ref: str, data: bytes) -> None:
        question = self._questions.get(ref)
        if question is not None:
            question.targets += _TARGETS.validate_json(data)
            question.awaited -= 1
            if not question.awaited:
                self._end(ref)

    def _end(self, ref: str) -> None:
        question = self._questions.pop(ref, None)
        if question is not None:
            question.timer.cancel()
            self._done(ref, question.targets)
