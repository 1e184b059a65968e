"""Decisions kept for when none can be had (static stability): the last one for each destination, as far as the control
plane has said that it holds for other calls too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from lambdas.contract import Route, Stage, Target, Wire, q_delays

_MOST, _MOST_OF_ONE = 10_000, 1_000  # in all, and of one owner: nobody drives out what others rely on


class KeptRoute(Wire):
    """``until`` is Unix time."""

    route: Route
    until: float


class KeptRoutes:
    """By owner (the tenant of calls by accounts, the provider account of others), destination and caller ("" for
    anybody). ``changed`` collects the names of those to be written to disk."""

    def __init__(self) -> None:
        self._routes: OrderedDict[str, KeptRoute] = OrderedDict()
        self._of_owner: dict[str, OrderedDict[str, None]] = {}
        self.changed: set[str] = set()

    def keep(self, owner: str, called: str, route: Route, wall: float) -> None:
        """Note a decision that has just been made for a call to ``called``."""
        if route.keep is not None:
            name = _name(owner, called, route.keep.caller)
            self._put(name, KeptRoute(route=route, until=wall + route.keep.seconds))
            self.changed.add(name)

    def _put(self, name: str, kept: KeptRoute) -> None:
        if name in self._routes:
            self._forget(name)
        self._routes[name] = kept
        mine = self._of_owner.setdefault(_owner(name), OrderedDict())
        mine[name] = None
        if len(mine) > _MOST_OF_ONE:
            self._forget(next(iter(mine)))
        if len(self._routes) > _MOST:
            self._forget(next(iter(self._routes)))

    def find(self, owner: str, called: str, caller: str, wall: float) -> Route | None:
        """What was decided last for such a call, if it still holds."""
        for name in (_name(owner, called, caller), _name(owner, called, "")):
            kept = self._routes.get(name)
            if kept is not None and kept.until > wall:
                return kept.route
        return None

    def forget(self, plan: str = "", provider: str = "", aor: str = "", tenant: str = "") -> None:
        """What rests on this has changed."""
        for name, kept in list(self._routes.items()):
            route = kept.route
            if (
                (tenant and route.tenant == tenant)
                or (plan and route.keep is not None and plan in route.keep.plans)
                or (provider and provider == _owner(name))
                or (aor and f" {aor} " in f"{name} ")
                or any(
                    (provider and target.provider is not None and target.provider.id == provider)
                    or (aor and aor in (target.aor, target.account))
                    for target in all_targets(route)
                )
            ):
                self._forget(name)

    def _forget(self, name: str) -> None:
        del self._routes[name]
        mine = self._of_owner[_owner(name)]
        del mine[name]
        if not mine:
            del self._of_owner[_owner(name)]
        self.changed.add(name)

    def take_changed(self, limit: int) -> list[tuple[str, bytes]]:
        """Up to ``limit`` changes for the disk; b"" for what is gone."""
        names = [self.changed.pop() for _ in range(min(limit, len(self.changed)))]
        return [
            (name, self._routes[name].model_dump_json().encode() if name in self._routes else b"") for name in names
        ]

    def restore(self, records: list[tuple[str, bytes]]) -> None:
        for name, data in records:
            try:
                kept = KeptRoute.model_validate_json(data)
            except ValueError:
                self.changed.add(name)  # of another version: it goes from the disk too
            else:
                if name not in self._routes:
                    self._put(name, kept)

    def __len__(self) -> int:
        return len(self._routes)


def _name(owner: str, called: str, caller: str) -> str:
    return f"{owner} {called} {caller}"


def _owner(name: str) -> str:
    return name.partition(" ")[0]


def all_targets(route: Route) -> Iterator[Target]:
    """Everybody it could ring, phones that weren't there included."""
    for stage in (route, *route.stages):
        for target in (*stage.targets, *stage.absent):
            yield target
            yield from target.instead


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
                way = {"uri": phone.uri, "flow": phone.flow, "binding": phone.binding, "q": phone.q}
                targets.append(target.model_copy(update={**way, "after": target.after + after[phone.q]}))
    return {"targets": targets, "absent": []}
