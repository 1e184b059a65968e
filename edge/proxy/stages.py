"""The stages of a decision: who is to be tried next, after what came of those before."""

from __future__ import annotations

from lambdas.contract import Reject, Route, Stage


class Stages:
    """``outcome`` is the status of the stage that was tried last (0 before the first), ``outcomes`` those of all;
    ``otherwise`` and ``again`` are what remains when all have failed."""

    def __init__(self, route: Route | None) -> None:
        self._left: list[Stage] = [route, *route.stages] if route is not None else []
        self.otherwise: Reject | None = route.otherwise if route is not None else None
        self.again = route.again if route is not None else ""
        self.outcome = 0
        self.outcomes: list[int] = []

    @property
    def more(self) -> bool:
        """Whether there is a stage left."""
        return bool(self._left)

    def failed(self, status: int) -> None:
        """The present stage has."""
        self.outcome = status
        self.outcomes.append(status)

    def next(self) -> Stage | None:
        """The next stage that has somebody to try; those that have nobody fail on the way."""
        while self._left:
            stage = self._left.pop(0)
            if stage.when and self.outcome not in stage.when:
                continue
            if stage.targets:
                return stage
            self.failed(stage.status)
        return None
