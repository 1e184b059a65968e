"""Decisions kept for when none can be had (static stability): the last one for each destination, as far as the control
plane has said that it holds for other calls too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from edge.proxy.stack.records import KeptRoute, RouteKey
from lambdas.contract import RELAYED_OF_ACCOUNT, MediaPolicy, Route, Stage, Target, combined, q_delays

_WHERE = ("uri", "flow", "binding", "q", "aor", "path", "instance", "reg_id", "registered_at", "sleeps")
"""What of a target is the phone's."""
_MOST, _MOST_OF_ONE = 10_000, 1_000  # in all, and of one owner: nobody drives out what others rely on


class KeptRoutes:
    """Theory of operation. A decision says (``keep``) for how long it holds for other calls, and whether for calls of
    its caller only. It is kept under whose plan decided (its owner), whom was called, and for whom it holds; the next
    call without an answer from the control plane is decided by the caller's own, or else by anybody's. The phones in
    it are as old as the decision, so whoever uses one looks for the present ones. The change feed says what rests on
    something that has changed: that is forgotten at once, and what the feed doesn't say runs out. Both bounds, in all
    and of one owner, drop the oldest.

    ``changed`` collects the keys of those to be written to disk."""

    def __init__(self) -> None:
        self._routes: OrderedDict[RouteKey, KeptRoute] = OrderedDict()
        self._of_owner: dict[str, OrderedDict[RouteKey, None]] = {}
        self._resting: dict[tuple[str, str], dict[RouteKey, None]] = {}  # by what a decision rests on (``_rests_on``)
        self._changed: set[RouteKey] = set()

    def keep(self, owner: str, called: str, route: Route, wall: float) -> None:
        """Note a decision that has just been made for a call to ``called``."""
        if route.keep is not None:
            key = RouteKey(owner, called, route.keep.caller)
            self._put(key, KeptRoute(route, wall + route.keep.seconds))
            self._changed.add(key)

    def _put(self, key: RouteKey, kept: KeptRoute) -> None:
        if key in self._routes:
            self._forget(key)
        self._routes[key] = kept
        mine = self._of_owner.setdefault(key.owner, OrderedDict())
        mine[key] = None
        for what in _rests_on(key, kept.route):
            self._resting.setdefault(what, {})[key] = None
        if len(mine) > _MOST_OF_ONE:
            self._forget(next(iter(mine)))
        if len(self._routes) > _MOST:
            self._forget(next(iter(self._routes)))

    def find(self, owner: str, called: str, caller: str, wall: float) -> Route | None:
        """What was decided last for such a call, if it still holds."""
        for key in (RouteKey(owner, called, caller), RouteKey(owner, called, "")):
            kept = self._routes.get(key)
            if kept is not None and kept.until > wall:
                return kept.route
        return None

    def forget(self, plan: str = "", provider: str = "", aor: str = "", tenant: str = "") -> None:
        """What rests on this has changed."""
        for what in (("plan", plan), ("provider", provider), ("aor", aor), ("tenant", tenant)):
            for key in list(self._resting.get(what, ())):
                self._forget(key)

    def _forget(self, key: RouteKey) -> None:
        route = self._routes.pop(key).route
        mine = self._of_owner[key.owner]
        del mine[key]
        if not mine:
            del self._of_owner[key.owner]
        for what in _rests_on(key, route):
            others = self._resting[what]
            del others[key]
            if not others:
                del self._resting[what]
        self._changed.add(key)

    def take_changed(self, limit: int) -> list[tuple[RouteKey, KeptRoute | None]]:
        """Up to ``limit`` changes for the disk; None for what is gone."""
        keys = [self._changed.pop() for _ in range(min(limit, len(self._changed)))]
        return [(key, self._routes.get(key)) for key in keys]

    def put_back(self, keys: list[RouteKey]) -> None:
        """They couldn't be written: they are still to be taken."""
        self._changed.update(keys)

    def restore(self, routes: list[tuple[RouteKey, KeptRoute]]) -> None:
        """Take back what was kept; what has been decided since counts for more."""
        for key, kept in routes:
            if key not in self._routes:
                self._put(key, kept)

    def __len__(self) -> int:
        return len(self._routes)


def _rests_on(key: RouteKey, route: Route) -> set[tuple[str, str]]:
    """What a decision is void without, as (kind, name): whose it is and by what plans and providers, whom it is from
    and to, and whoever one of its targets is of."""
    found = {("tenant", route.tenant), ("provider", key.owner), ("provider", route.provider)}
    found |= {("aor", key.called), ("aor", key.caller)}
    if route.keep is not None:
        found |= {("plan", plan) for plan in route.keep.plans}
    for target in all_targets(route):
        found |= {("aor", target.aor), ("aor", target.account)}
        if target.provider is not None:
            found.add(("provider", target.provider.id))
    return {(kind, name) for kind, name in found if name}


def all_targets(route: Route) -> Iterator[Target]:
    """Everybody it could ring, phones that weren't there included."""
    for stage in (route, *route.stages):
        for target in (*stage.targets, *stage.absent):
            yield target
            yield from target.instead


def allowed_in_the_dark(route: Route) -> Route:
    """``route`` without what needs a decision each time: numbers that cost more than others, unless their tenant has
    allowed that."""

    def lit(stage: Stage) -> dict[str, list[Target]]:
        return {"targets": _without_decision(stage.targets)}

    stages = [stage.model_copy(update=lit(stage)) for stage in route.stages]
    return route.model_copy(update={**lit(route), "stages": stages})


def _without_decision(targets: list[Target]) -> list[Target]:
    """Those that may be called without one; of several ways to a number the first that may."""
    found: list[Target] = []
    for target in targets:
        instead = _without_decision(target.instead)
        if target.provider is None or target.provider.dark:
            found.append(target.model_copy(update={"instead": instead}))
        elif instead:
            found.append(instead[0].model_copy(update={"instead": instead[1:], "after": target.after}))
    return found


def as_called_by(route: Route, caller: str, media: MediaPolicy, site: str) -> Route:
    """``route``, which was kept, with what holds for media of calls by account ``caller``, which wants ``media`` and
    whose phones are at ``site``."""
    there = route.keep is not None and route.keep.site == site

    def fitted(stage: Stage) -> dict[str, list[Target]]:
        return {
            "targets": _towards(stage.targets, media, there),
            "absent": _towards(stage.absent, media, there),
        }

    most = route.relayed_calls
    payers = {target.account for target in all_targets(route)}
    shared = {scope: number for scope, number in most.items() if scope in payers or scope == route.tenant}
    counts = {caller: most.get(caller, RELAYED_OF_ACCOUNT), **shared}
    stages = [stage.model_copy(update=fitted(stage)) for stage in route.stages]
    return route.model_copy(update={**fitted(route), "stages": stages, "relayed_calls": counts})


def _towards(targets: list[Target], media: MediaPolicy, there: bool) -> list[Target]:
    """``targets`` as called by somebody who wants ``media``; ``there``: from the site that they were decided for."""
    return [
        target.model_copy(
            update={
                "media": combined(media, target.media),
                "one_site": there and target.one_site,
                "instead": _towards(target.instead, media, there),
            }
        )
        for target in targets
    ]


def aors(route: Route) -> list[str]:
    """Whose phones it rings."""
    return list(dict.fromkeys(target.aor for target in all_targets(route) if target.aor))


def with_phones(route: Route, phones: dict[str, list[Target]]) -> Route:
    """``route`` with the phones that its AORs have now."""
    stages = [stage.model_copy(update=_fresh(stage, phones)) for stage in route.stages]
    return route.model_copy(update={**_fresh(route, phones), "stages": stages})


def _fresh(stage: Stage, phones: dict[str, list[Target]]) -> dict[str, list[Target]]:
    targets: list[Target] = []
    known: set[str] = set()
    for target in (*stage.targets, *stage.absent):
        if not target.aor:
            targets.append(target)
        elif target.aor not in known:
            known.add(target.aor)
            found = phones.get(target.aor, [])
            after = q_delays(phone.q for phone in found)
            for phone in found:
                way = {name: getattr(phone, name) for name in _WHERE}
                targets.append(target.model_copy(update={**way, "after": target.after + after[phone.q]}))
    return {"targets": targets, "absent": []}
