"""The target set of RFC 3261 §16.5, as a decision gives it: stages, one tried after another.

Theory of operation. A decision (Route) is a list of stages. A stage has targets, which are tried together, each perhaps
after a delay, or has nobody to try, and fails as it says; it may be meant for certain outcomes of the stage before
only (``when``), or belong to another (``part_of``: left out where that wasn't reached). The last one may say how it
ends: with a response (``end``), or by asking once more (``again``) with the outcomes of all stages so far. Where it
says neither, the best response goes back. A new decision goes on where the last one ended: outcomes stay known.

A phone that does outbound (RFC 5626) has a flow for each of its reg-ids, and so a target for each of them. They are
one phone: one of its flows is tried at a time, and another one only where that one leads nowhere.

Nothing here knows transactions: the response context says what came of a stage, and asks for the next.
"""

from __future__ import annotations

from lambdas.contract import NOBODYS_ANSWER, Reject, Route, Stage, Target

_NO_STAGE = Stage(targets=[])


class TargetSet:
    """``stage`` is the present one. ``outcome`` is the status of the stage that was tried last (0 before the first),
    ``outcomes`` those of all; ``end`` and ``again`` say what to do once there is nobody left to try."""

    def __init__(self, outcome: int = 0) -> None:
        """``outcome``: what this leads to has been tried elsewhere already, and failed with that status."""
        self._stages: list[Stage] = []
        self._at = 0
        self._reached: set[int] = set()
        self.stage = _NO_STAGE
        self.end: Reject | None = None
        self.again = ""
        self.outcome = outcome
        self.outcomes: list[int] = []

    def follow(self, route: Route) -> None:
        """Go on with the stages of a decision."""
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

    def expects(self, status: int) -> bool:
        """Whether a stage that is left is meant for this very outcome."""
        return any(status in stage.when for stage in self._stages[self._at :])

    def failed(self, status: int) -> None:
        """The present stage has."""
        self.outcome = status
        self.outcomes.append(status)

    def next(self) -> bool:
        """Go on to the next stage that has somebody to try, if there is one; those that have nobody fail on the way."""
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
                self.stage = stage
                return True
            else:
                self.failed(stage.status)
        return False


def by_instance(targets: list[Target]) -> list[Target]:
    """``targets``, of which each instance has one (RFC 5626 §7): the flow that was registered last, and the others
    instead of it."""
    if not any(target.reg_id for target in targets):
        return targets
    flows: dict[object, list[Target]] = {}
    for index, target in enumerate(targets):
        flows.setdefault((target.aor, target.instance) if target.reg_id else index, []).append(target)
    return [_in_turn(group) if len(group) > 1 else group[0] for group in flows.values()]


def _in_turn(flows: list[Target]) -> Target:
    """One target of an instance's. Whoever is rung twice at once, is rung once."""
    turns = {target.binding: target for target in sorted(flows, key=lambda one: (-one.after, one.registered_at))}
    first, *others = reversed(turns.values())
    rest = [one for target in (first, *others) for one in target.instead]
    return first.model_copy(update={"instead": [*(one.model_copy(update={"instead": []}) for one in others), *rest]})


def of_same_instance(one: Target, other: Target) -> bool:
    """Whether they are two flows to one phone."""
    return bool(one.reg_id and other.reg_id and one.instance) and (one.aor, one.instance) == (other.aor, other.instance)


def instead(target: Target, status: int, flow_failed: bool) -> Target | None:
    """Whom to try now that ``target`` has failed with ``status``, as a part of the same stage; None if nobody. Another
    flow to the same phone is tried only if its flow has failed: else the phone has said what it has to say."""
    left = target.instead
    if not flow_failed:
        left = [one for one in left if not of_same_instance(one, target)]
    if not left or status not in NOBODYS_ANSWER:
        return None
    return left[0].model_copy(update={"instead": left[1:]})
