"""Making a decision of what a plan says: its steps become stages of targets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from lambdas.api.services import Services
from lambdas.calls.evaluation import Judged, ScriptError, judge
from lambdas.calls.tenant_accounts import TenantAccounts
from lambdas.contract import Decision, IncomingQuestion, Keep, Reject, Route, RouteQuestion, Stage, Target, stand_in
from lambdas.decisions import outbound
from lambdas.decisions import route as routes
from lambdas.decisions.continuation import MOST, Continuation
from lambdas.decisions.numbers import read
from lambdas.decisions.outbound import Choice
from lambdas.decisions.provider import Settings, Way
from lambdas.decisions.rules import Leg, Plan
from lambdas.decisions.uris import is_user, sip_uri
from lambdas.decisions.values import Account, StoredBinding
from lambdas.decisions.wizard import Call, Inputs, Step, Verdict
from lambdas.repositories.events import Event

log = logging.getLogger(__name__)

MOST_DIVERSIONS = 5
"""How often a call may be sent on to somewhere else, here and before it came here."""
MOST_TARGETS = 100
"""Phones and numbers that one decision rings, in all its stages; further legs are left out."""
MOST_NUMBERS = 3
"""Numbers that one decision looks up by ENUM, beside those of scripts."""
TIME = 2.5
"""Seconds in which plans have to have decided: the edge waits for 4.5."""
_KEEP = 24 * 3600  # seconds
_LOOP = Reject(status=482, reason=f"Loop Detected: the call was diverted {MOST_DIVERSIONS} times")
_NOWHERE = Reject(status=404, reason="Not Found: the dial plan doesn't say where this call goes")
_BUSY = 486


@dataclass(frozen=True, slots=True)
class Turn:
    """A plan's turn to say what becomes of a call. ``owner`` is the account whose calls it decides ("" if it isn't one
    account's), ``diverted`` the URI that was called, for whoever the call goes to instead."""

    plan: str
    call: Call
    as_dialled: Callable[[Step], Decision]
    owner: str = ""
    diverted: str = ""
    transfers: bool = False


@dataclass(slots=True)
class RestsOn:
    """What the decision rests on."""

    caller: bool = False
    until: float = float("inf")
    volatile: bool = False
    plans: list[str] = field(default_factory=list)

    def add(self, plan: str, inputs: Inputs) -> None:
        self.plans.append(plan)
        self.caller = self.caller or inputs.caller
        self.until = min(self.until, inputs.until)
        self.volatile = self.volatile or inputs.volatile


class Composing:
    """What one request's plans have said so far. ``payer`` is whose call it is, ``caller`` what plans see of the
    caller, ``settings`` are the tenant's."""

    def __init__(
        self,
        question: RouteQuestion | IncomingQuestion,
        payer: Account,
        caller: str,
        settings: Settings,
        services: Services,
    ) -> None:
        self.question = question
        self.payer = payer
        self.caller = caller
        self.settings = settings
        self.called = ""
        self.services = services
        self.now = services.clock()
        self.calls = question.method == "INVITE"
        self.rests_on = RestsOn()
        self.visited: list[str] = []
        self.accounts = TenantAccounts(services, payer.tenant)
        self._way = cache(self._way_of)
        self._end = time.monotonic() + TIME
        self._left = {"enum": MOST_NUMBERS, "targets": MOST_TARGETS}
        self.before = Continuation.parse(question.again)

    def _take(self, what: str) -> bool:
        """Whether there is something left of what one decision may use."""
        if not self._left[what] or self._late():
            return False
        self._left[what] -= 1
        return True

    def _late(self) -> bool:
        """Whether no more may be looked up."""
        return time.monotonic() > self._end

    def ours(self, host: str) -> bool:
        return host in self.services.domains.get().names

    def paying(self, step: Step) -> Account:
        """The payer, with the caller ID that the plan sets."""
        return replace(self.payer, caller_id=step.caller_id or self.payer.caller_id)

    def phones(self, aor: str) -> tuple[StoredBinding, ...]:
        """Where calls for an account ring."""
        return () if self.calls and self.accounts.disturbing(aor) else self.accounts.bindings(aor)

    # Plans

    def by_plan(self, turn: Turn, before: Continuation | None = None) -> Decision | None:
        """What the plan says; None if none is published, and the call goes as if there were none. ``before``: its
        script goes on."""
        full = f"{self.payer.tenant}/{before.plan if before is not None else turn.plan}"
        if before is None:
            found = self.services.plans.published(full)
        else:
            earlier = self.services.plans.earlier(full, before.version)
            found = (earlier, before.version) if earlier is not None else None
        if found is None:
            self.rests_on.plans.append(full)  # one may be published
            return None
        plan, version = found
        if turn.owner:
            self.visited.append(turn.owner)
        name = f"{full.rpartition('/')[2]} v{version}"
        function = before.function if before is not None else ""
        try:
            judged = self._judged(plan, turn, name, function)
            self.rests_on.add(full, judged.verdict.inputs)
            times = self.before.times if self.before is not None else 0
            next_time = Continuation(full.rpartition("/")[2], version, "", turn.owner, times + 1)
            return self._decision(self._stages(judged.verdict, turn, next_time), turn)
        except ScriptError as error:
            return self._failed(name, str(error), error.log)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            # Whatever a plan makes of us is its own call's trouble, and nobody else's.
            log.exception("dial plan %s of %s can't be followed", name, self.payer.tenant)
            return self._failed(name, f"it can't be followed: {type(error).__name__}", ())

    def _judged(self, plan: Plan, turn: Turn, name: str, function: str) -> Judged:
        tenant = self.payer.tenant
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise ScriptError(f"the plans of this call took more than {TIME} s", ())
        world = self.services.script_world(tenant, self.settings.script_hosts)
        judged = judge(plan, turn.call, world, self.services.sandbox, tenant, name, function, seconds=seconds)
        self._note(name, judged.log)
        return judged

    def _failed(self, name: str, why: str, lines: Iterable[str]) -> Reject:
        self._note(name, lines, f"error: {why}")
        self.rests_on.volatile = True
        reason = "".join(char if " " <= char <= "~" else "?" for char in f"dial plan {name}: {why}")
        return Reject(status=500, reason=f"Server Internal Error: {reason[:200]}")

    def _note(self, name: str, lines: Iterable[str], error: str = "") -> None:
        """Into the tenant's log."""
        text = "\n".join([*([error] if error else []), *lines])
        if text and self.services.log_rate.take(self.payer.tenant):
            event = Event("plan", self.now, text, name, self.question.call_id)
            try:
                self.services.events.add(self.payer.tenant, event)
            except Exception:
                log.exception("the log of a dial plan can't be written")  # the call is worth more

    def kept(self, decision: Decision) -> Decision:
        """``decision``, and how far it may be used when none can be had."""
        rests = self.rests_on
        seconds = int(min(_KEEP, rests.until - self.now))
        if (
            not isinstance(decision, Route)
            or not self.calls
            or rests.volatile
            or self.question.diversions
            or seconds < 1
        ):
            return decision
        keep = Keep(caller=self.question.caller if rests.caller else "", seconds=seconds, plans=rests.plans)
        return decision.model_copy(update={"keep": keep})

    # Stages

    def _decision(self, stages: list[Stage], turn: Turn) -> Decision:
        if not stages:
            return _NOWHERE
        first, *others = stages
        return Route(**_values(first), stages=others, tenant=self.payer.tenant, transfers=turn.transfers)

    def _stages(self, verdict: Verdict, turn: Turn, next_time: Continuation) -> list[Stage]:
        stages: list[Stage] = []
        begins: list[int] = []  # the first stage of each step
        for step in verdict.steps:
            begins.append(len(stages))
            when = list(step.statuses)
            part_of = begins[step.part_of] if step.part_of >= 0 else -1
            if step.legs:
                targets, absent, status = self._legs(step, turn)
                stage = Stage(
                    targets=targets,
                    absent=absent,
                    timeout=step.timeout,
                    status=status,
                    early_media="ringing" if step.early_media == "ringing" else "pass",
                )
                made = [stage]
            elif step.again:
                made = [self._again(replace(next_time, function=step.again))]
            else:
                made = self._ending(step, turn)
            head = made[0].model_copy(update={"when": when, "part_of": part_of, **_limit(made[0], step)})
            index = len(stages)
            # What belongs to the step goes with its first stage; its own numbers count from there.
            rest = [
                stage.model_copy(update={"part_of": index + max(0, stage.part_of), **_limit(stage, step)})
                for stage in made[1:]
            ]
            stages += [head, *rest]
        return stages

    def _again(self, continuation: Continuation) -> Stage:
        if continuation.times > MOST:
            reason = f"Server Internal Error: the dial plan asks to be asked again more than {MOST} times"
            return Stage(targets=[], end=Reject(status=500, reason=reason))
        return Stage(targets=[], again=str(continuation))

    def _ending(self, step: Step, turn: Turn) -> list[Stage]:
        if step.reject is not None:
            return [Stage(targets=[], end=Reject(status=step.reject.status, reason=step.reject.reason))]
        if step.redirect:
            end = Reject(status=302, reason="Moved Temporarily", contact=step.redirect)
            return [Stage(targets=[], end=end)]
        decision = self._forwarded(step, turn) if step.forward else turn.as_dialled(step)
        if isinstance(decision, Route):
            stages = [Stage(**_values(decision)), *decision.stages]
            return [self._diverted(stage, turn) for stage in stages] if step.forward else stages
        return [Stage(targets=[], end=decision if isinstance(decision, Reject) else _NOWHERE)]

    def _forwarded(self, step: Step, turn: Turn) -> Decision:
        """To an account by its own plan, to a number by the routes, or to a SIP address."""
        if len(self.visited) + self.question.diversions > MOST_DIVERSIONS:
            return _LOOP
        payer = self.paying(step)
        to = step.forward
        if to.startswith("sip:"):
            return Route(targets=self._address(to), tenant=payer.tenant)
        return self.as_dialled(to if "@" in to else f"{to}@{self._home(turn)}", payer)

    def as_dialled(self, called: str, payer: Account) -> Decision:
        raise NotImplementedError

    def _diverted(self, stage: Stage, turn: Turn) -> Stage:
        targets, absent = ([self._instead(one, turn) for one in some] for some in (stage.targets, stage.absent))
        return stage.model_copy(update={"targets": targets, "absent": absent})

    def _instead(self, target: Target, turn: Turn) -> Target:
        """``target`` is rung instead of whoever was called; who has it so pays for what leaves the service."""
        mine = target.aor == turn.owner if target.aor else False
        changes: dict[str, object] = {"instead": [self._instead(one, turn) for one in target.instead]}
        if turn.diverted and not mine and not target.diverted:
            leg = target.provider
            # A provider hears of the number that it knows us by, not of names inside.
            known = leg.from_value.partition("<")[2].rstrip(">") if leg is not None and leg.id else ""
            changes["diverted"] = known or turn.diverted
        if not target.account:
            changes["account"] = turn.owner if target.provider is not None else target.aor if not self.payer.aor else ""
        return target.model_copy(update=changes)

    # Legs

    def _legs(self, step: Step, turn: Turn) -> tuple[list[Target], list[Target], int]:
        """The targets, stand-ins for accounts that have no phone just now, and what it counts as if there are none."""
        found: list[Target] = []
        absent: list[Target] = []
        status = 480
        may_divert = not turn.diverted or len(self.visited) + self.question.diversions <= MOST_DIVERSIONS
        for leg in step.legs:
            if self._late():
                break
            account = leg.account or self._named_by(leg, turn)
            if account:
                targets = routes.targets_of(self.phones(account), self.now)
                if self.accounts.disturbing(account):
                    status = _BUSY
                if not targets:
                    absent.append(self._as_leg(stand_in(account), leg, turn))
            elif may_divert:
                targets = self._outside(leg, self.paying(step))
            else:
                targets, status = [], _LOOP.status
            found += [self._as_leg(target, leg, turn) for target in targets if self._take("targets")]
        return found, absent, status

    def _named_by(self, leg: Leg, turn: Turn) -> str:
        """The account that has a number for its name, as the one who is dialled would."""
        home = self._home(turn)
        aor = f"{leg.number}@{home}" if leg.number and not leg.providers and home else ""
        return aor if aor and self.accounts.usable(aor) is not None else ""

    def _as_leg(self, target: Target, leg: Leg, turn: Turn) -> Target:
        """``target``, and those instead of it, as the plan wants them rung."""
        more = {"after": leg.after + target.after, "headers": list(leg.headers)}
        instead = [one.model_copy(update={"headers": list(leg.headers)}) for one in target.instead]
        return self._instead(target.model_copy(update={**more, "instead": instead}), turn)

    def _home(self, turn: Turn) -> str:
        """The domain that names without one are of."""
        return (turn.owner or self.payer.aor).rpartition("@")[2] or self.services.domains.get().default

    def _outside(self, leg: Leg, payer: Account) -> list[Target]:
        """A number or address. Of several ways to a number the next is tried instead of the one before."""
        if leg.uri is not None:
            return self._address(leg.uri)
        found = self._by_enum(leg)
        if leg.number is None or any(target.aor for target in found):
            return found
        ways = [*found, *self._by_providers(leg.number, leg.providers, payer)]
        if not ways:
            return []
        return [ways[0].model_copy(update={"instead": [*ways[1:], *ways[0].instead]})]

    def _by_enum(self, leg: Leg) -> list[Target]:
        number = read(leg.number or "", self.settings.country) if leg.enum else None
        if number is None or not number.e164 or not self._take("enum"):
            return []
        self.rests_on.volatile = True
        address = self.services.enum.find(number.e164, leg.enum)
        return self._address(address) if address else []

    def _by_providers(self, number: str, named: list[str], payer: Account) -> list[Target]:
        choice = outbound.choose(number, tuple(named), self.settings)
        if choice is None or isinstance(choice, Reject):
            return []
        self.rests_on.caller = self.rests_on.caller or bool(self.payer.aor)  # its caller ID goes along
        decision = outbound.through(choice, self.ways(choice), payer)
        return decision.targets if isinstance(decision, Route) else []

    def _address(self, uri: str) -> list[Target]:
        """The phones of one of our accounts, or whoever has that address elsewhere."""
        try:
            user, host, _, _ = sip_uri(uri)
        except ValueError:
            return []
        domains = self.services.domains.get()
        if host in domains.names:
            return routes.targets_of(self.phones(f"{user}@{domains.names[host]}"), self.now)
        self.rests_on.caller = True  # whoever it is, is named
        caller = self.payer.aor or f"{self.caller if is_user(self.caller) else 'anonymous'}@{domains.default}"
        return [outbound.directly(uri, caller, self.question.address)]

    # Providers

    def ways(self, choice: Choice) -> list[Way]:
        ways = [self._way(f"{self.payer.tenant}/{name}") for name in choice.providers]
        return [way for way in ways if way is not None]

    def _way_of(self, name: str) -> Way | None:
        """Calls leave from where the account is registered, if anybody is there; else from where they came in."""
        services = self.services
        provider = services.providers.get(name)
        if provider is None:
            return None
        assigned = services.assignments.get(name) if provider.registers else None
        if assigned is None or all(lease.address != assigned.address for lease in services.fleet.get()[0]):
            return Way(provider, self.question.address, {})
        state = services.providers.state(name)
        is_there = state is not None and state.state == "registered" and state.address == assigned.address
        known = state.routes if state is not None and is_there else ()
        return Way(provider, assigned.address, assigned.ports or {}, known)


def _values(stage: Stage) -> dict[str, Any]:
    """Those of the stage alone, where it is a Route too."""
    return {name: getattr(stage, name) for name in Stage.model_fields}


def _limit(stage: Stage, step: Step) -> dict[str, int]:
    """The shorter one counts, if there are two."""
    limits = [limit for limit in (stage.max_duration, step.max_duration) if limit]
    return {"max_duration": min(limits, default=0)}
