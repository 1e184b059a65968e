"""Asking the peers, while the control plane can't be asked: where a phone is, and what is used of limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from edge.proxy.stack.call_counts import ScopeUse
from lambdas.contract import Target

_PATIENCE = 0.5  # seconds that peers have
_TARGETS = TypeAdapter(list[Target])
_USES = TypeAdapter(list[ScopeUse])
_Answer = TypeVar("_Answer")


def write_phones(targets: list[Target]) -> bytes:
    """What a peer is answered."""
    return _TARGETS.dump_json(targets)


def read_phones(data: bytes) -> list[Target]:
    return _TARGETS.validate_json(data)


def write_uses(uses: list[ScopeUse]) -> bytes:
    """What a peer is answered."""
    return _USES.dump_json(uses)


def read_uses(data: bytes) -> list[ScopeUse]:
    return _USES.validate_json(data)


@dataclass(slots=True)
class _Question(Generic[_Answer]):
    """How many peers have still to answer, and what they have said."""

    awaited: int
    answers: list[_Answer]
    timer: asyncio.TimerHandle


class PeerSearch(Generic[_Answer]):
    """``done`` gets each question's name and the answers."""

    def __init__(self, done: Callable[[str, list[_Answer]], None]) -> None:
        self._done = done
        self._questions: dict[str, _Question[_Answer]] = {}

    def ask(self, ref: str, asked: int) -> None:
        """``asked`` peers have been, by the name of ``ref``."""
        timer = asyncio.get_running_loop().call_later(_PATIENCE if asked else 0.0, self._end, ref)
        self._questions[ref] = _Question(asked, [], timer)

    def answered(self, ref: str, answer: _Answer) -> None:
        question = self._questions.get(ref)
        if question is not None:
            question.answers.append(answer)
            question.awaited -= 1
            if not question.awaited:
                self._end(ref)

    def _end(self, ref: str) -> None:
        question = self._questions.pop(ref, None)
        if question is not None:
            question.timer.cancel()
            self._done(ref, question.answers)
