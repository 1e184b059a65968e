"""Which way a call's media are to take towards each whom it may ring: what both of its ends want, combined. Whether two
ends can reach each other the edge judges, which sees what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lambdas.contract import Decision, MediaPolicy, Route, Stage, Target, combined
from lambdas.decisions.provider import StoredProvider, TenantSettings, Way
from lambdas.decisions.values import StoredAccount

_Stage = TypeVar("_Stage", bound=Stage)


@dataclass(frozen=True, slots=True)
class MediaEnd:
    """What an end of a call wants, and the place where its phones are ("" if that isn't known)."""

    media: MediaPolicy = "auto"
    site: str = ""

    @classmethod
    def of(cls, whose: StoredAccount | StoredProvider | None, settings: TenantSettings) -> MediaEnd:
        """None: somebody outside, of whom nobody has said anything."""
        if whose is None:
            return cls()
        site = (whose.site or settings.site) if isinstance(whose, StoredAccount) else ""
        return cls(whose.media or settings.media, site)


class CallMedia:
    """Of calls by ``caller``."""

    def __init__(
        self,
        caller: MediaEnd,
        settings: TenantSettings,
        account: Callable[[str], StoredAccount | None],
        way: Callable[[str], Way | None],
    ) -> None:
        """``account`` and ``way`` know whoever is rung, by AOR, and the providers that calls go by."""
        self._caller = caller
        self._settings = settings
        self._account = account
        self._way = way

    def of_emergency(self, decision: Decision) -> Decision:
        """As ``decided``, but no call for help fails for want of a relay."""
        route = self.decided(decision)
        if not isinstance(route, Route):
            return route
        targets = [one.model_copy(update={"media": "auto"}) if one.media == "relay" else one for one in route.targets]
        return route.model_copy(update={"targets": targets})

    def decided(self, decision: Decision) -> Decision:
        """``decision`` with what holds for each target."""
        if not isinstance(decision, Route):
            return decision
        route = self._stage(decision)
        stages = [self._stage(stage) for stage in route.stages]
        keep = route.keep.model_copy(update={"site": self._caller.site}) if route.keep is not None else None
        return route.model_copy(update={"stages": stages, "keep": keep})

    def _stage(self, stage: _Stage) -> _Stage:
        targets, absent = ([self._target(one) for one in some] for some in (stage.targets, stage.absent))
        return stage.model_copy(update={"targets": targets, "absent": absent})

    def _target(self, target: Target) -> Target:
        called = self._called(target)
        media = combined(self._caller.media, called.media)
        one_site = called.site != "" and called.site == self._caller.site
        instead = [self._target(one) for one in target.instead]
        return target.model_copy(update={"media": media, "one_site": one_site, "instead": instead})

    def _called(self, target: Target) -> MediaEnd:
        if target.provider is None:
            return MediaEnd.of(self._account(target.aor), self._settings)
        way = self._way(target.provider.id) if target.provider.id else None
        return MediaEnd.of(way.provider if way is not None else None, self._settings)
