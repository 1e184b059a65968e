"""The stages of decisions: who is to be tried next, after what came of those before."""

from __future__ import annotations

from lambdas.contract import Reject, Route, Stage


class Stages:
    """``outcome`` is the status of the stage that was tried last (0 before the first), ``outcomes`` those of all;
    ``end`` and ``again`` say what to do once there is nobody left to try."""

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._at = 0
        self._reached: set[int] = set()
        self.end: Reject | None = None
        self.again = ""
        self.outcome = 0
        self.outcomes: list[int] = []

    def follow(self, route: Route) -> None:
        """Go on with the stages of a decision; what came of earlier ones stays known."""
        self._stages = [route, *route.stages]
        self._at = 0
        self._reached = set()
        self.end, self.again = None, ""

    @property
    def more(self) -> bool:
        """Whether there is a stage left."""
        return self._at < len(self._stages)

    @property
    def somebody_left(self) -> bool:
        """Whether a stage that is left has somebody to try."""
        return any(stage.targets for stage in self._stages[self._at :])

    def failed(self, status: int) -> None:
        """The present stage has."""
        self.outcome = status
        self.outcomes.append(status)

    def next(self) -> Stage | None:
        """The next stage that has somebody to try; those that have nobody fail on the way."""
        while self._at < len(self._stages):
            index, stage = self._at, self._stages[self._at]
            self._at += 1
            left_out = stage.part_of >= 0 and stage.part_of not in self._reached
            if left_out or (stage.when and self.outcome not in stage.when):
                continue
            self._reached.add(index)
            if stage.end is not None or stage.again:
                self.end, self.again = stage.end, stage.again
                self._at = len(self._stages)
            elif stage.targets:
                return stage
            else:
                self.failed(stage.status)
        return None
