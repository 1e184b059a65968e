"""Diversion: who is rung instead of whoever was called, and who pays for that."""

from __future__ import annotations

from lambdas.calls.request import PlanCall
from lambdas.contract import Stage, Target, known_as


def divert(target: Target, by: PlanCall, payer: str) -> Target:
    """``target`` is rung instead of whoever was called; who has it so pays for what leaves the service. ``payer`` is
    the caller's AOR, "" where a provider calls."""
    mine = target.aor == by.owner if target.aor else False
    changes: dict[str, object] = {"instead": [divert(one, by, payer) for one in target.instead]}
    if by.diverted and not mine and not target.diverted:
        leg = target.provider
        # A provider hears of the number that it knows us by, not of names inside.
        known = known_as(leg) if leg is not None and leg.id else ""
        changes["diverted"] = known or by.diverted
    if not target.account:
        changes["account"] = by.owner if target.provider is not None else target.aor if not payer else ""
    return target.model_copy(update=changes)


def divert_stage(stage: Stage, by: PlanCall, payer: str) -> Stage:
    """All of its targets."""
    targets, absent = ([divert(one, by, payer) for one in some] for some in (stage.targets, stage.absent))
    return stage.model_copy(update={"targets": targets, "absent": absent})
