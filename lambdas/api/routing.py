"""Where calls go: facts looked up as the decisions ask for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from lambdas.api.services import Services
from lambdas.contract import Decision, IncomingQuestion, Reject, Route, RouteQuestion, Stage, Target
from lambdas.decisions import outbound, wizard
from lambdas.decisions import route as routes
from lambdas.decisions.digest import refuse
from lambdas.decisions.outbound import Choice
from lambdas.decisions.provider import Provider, Settings, Way
from lambdas.decisions.rules import Leg
from lambdas.decisions.values import Account, StoredBinding
from lambdas.decisions.wizard import Call, Verdict


def route(question: RouteQuestion, services: Services) -> Decision:
    """A call, or another request outside a dialog, by one of our accounts."""
    credentials = question.credentials
    account = services.directory.account(f"{credentials.username}@{credentials.realm}")
    refusal = refuse(credentials, question.method, account, question.caller)
    if refusal is not None or account is None:
        return refusal or Reject(status=403)
    return _Routing(question.address, question.method, account, services).outgoing(question.called)


def incoming(question: IncomingQuestion, services: Services) -> Decision:
    """A request by a provider."""
    provider = services.providers.get(question.provider)
    if provider is None or not provider.enabled:
        return Reject(status=404, reason="Not Found")
    # Whoever answers for it pays for what goes on to another provider.
    payer = Account(aor="", tenant=provider.tenant, ha1_md5="", ha1_sha256="")
    routing = _Routing(question.address, question.method, payer, services)
    return routing.from_provider(provider, question.caller, question.dialled)


class _Routing:
    """One request's way through plans, accounts and providers. ``payer`` is whose call it is."""

    def __init__(self, address: str, method: str, payer: Account, services: Services) -> None:
        self._address = address
        self._method = method
        self._payer = payer
        self._services = services
        self._bindings = cache(services.bindings.of)

    def outgoing(self, called: str) -> Decision:
        """A call by ``payer``: by the tenant's plan, if it has one, or as dialled."""
        settings = self._services.directory.settings(self._payer.tenant)
        plan = settings.plan if self._method == "INVITE" else ""
        if not plan or self._choose(called, settings)[1]:
            return self._as_dialled(called, settings, self._payer)
        user, _, host = called.rpartition("@")
        verdict = self._judge(plan, "outgoing", self._payer.aor, user if self._ours(host) else called)
        if verdict is None:
            return self._as_dialled(called, settings, self._payer)
        payer = replace(self._payer, caller_id=verdict.caller_id or self._payer.caller_id)
        changed = verdict.called if "@" in verdict.called else f"{verdict.called}@{host}"
        return self._compose(verdict, lambda: self._as_dialled(changed, settings, payer), settings, payer)

    def _ours(self, host: str) -> bool:
        return host in self._services.domains.get().names

    def _choose(self, called: str, settings: Settings) -> tuple[Choice | Reject | None, bool]:
        """Which providers a number goes to, and whether it is an emergency's."""
        user, _, host = called.rpartition("@")
        choice = outbound.choose(user, "" if self._ours(host) else host, settings)
        return choice, isinstance(choice, Reject) or (choice is not None and choice.number.emergency)

    def from_provider(self, provider: Provider, caller: str, dialled: str) -> Decision:
        wanted = routes.called_by(provider, self._method)
        services = self._services

        def as_dialled() -> Decision:
            return routes.incoming(provider, {aor: self._phones(aor) for aor in wanted}, services.clock())

        if self._method == "INVITE" and provider.plan:
            number = caller.partition("@")[0]
            verdict = self._judge(provider.plan, "incoming", number, dialled, provider.id.rpartition("/")[2])
            if verdict is not None:
                settings = services.directory.settings(provider.tenant)
                return self._compose(verdict, as_dialled, settings, self._payer)
        return as_dialled()

    def _as_dialled(self, called: str, settings: Settings, payer: Account) -> Decision:
        """To an account, or by the tenant's routes to a provider."""
        choice, emergency = self._choose(called, settings)
        ours = self._ours(called.rpartition("@")[2])
        account = self._services.directory.account(called) if ours and not emergency else None
        if account is not None:
            return self._to_account(account, settings)
        if choice is None:
            return Reject(status=404, reason="Not Found")
        if isinstance(choice, Reject):
            return choice
        if self._method != "INVITE":
            return Reject(status=405, reason="Method Not Allowed: only calls go to providers")
        return outbound.through(choice, self._ways(choice), payer)

    def _to_account(self, called: Account, settings: Settings) -> Decision:
        """By its plan, if it has one."""

        def as_dialled() -> Decision:
            return routes.decide(self._payer, called, self._bindings(called.aor), self._services.clock())

        if called.plan and called.enabled and called.tenant == self._payer.tenant and self._method == "INVITE":
            verdict = self._judge(called.plan, "incoming", self._payer.aor, called.aor)
            if verdict is not None:
                return self._compose(verdict, as_dialled, settings, self._payer)
        return as_dialled()

    def _judge(self, plan: str, direction: str, caller: str, called: str, provider: str = "") -> Verdict | None:
        """What the published plan says; None if there is none, and the call goes as if there were none."""
        found = self._services.plans.published(f"{self._payer.tenant}/{plan}")
        if found is None:
            return None
        call = Call(direction, caller, called, self._services.clock(), self._registered, provider)
        return wizard.evaluate(found, call)

    def _phones(self, aor: str) -> tuple[StoredBinding, ...]:
        """The bindings of an account that may be called, and is the payer's tenant's."""
        account = self._services.directory.account(aor)
        usable = account is not None and account.enabled and account.tenant == self._payer.tenant
        return self._bindings(aor) if usable else ()

    def _registered(self, aor: str) -> bool:
        return bool(routes.targets_of(self._phones(aor), self._services.clock()))

    def _compose(
        self, verdict: Verdict, as_dialled: Callable[[], Decision], settings: Settings, payer: Account
    ) -> Decision:
        """The verdict as stages of targets."""
        if verdict.as_dialled and not verdict.steps:
            return as_dialled()
        stages = [
            Stage(targets=self._legs(step.legs, settings, payer), when=list(step.statuses), timeout=step.timeout)
            for step in verdict.steps
        ]
        otherwise: Reject | None = None
        if verdict.redirect:
            otherwise = Reject(status=302, reason="Moved Temporarily", contact=verdict.redirect)
        elif verdict.status:
            otherwise = Reject(status=verdict.status, reason=verdict.reason)
        elif verdict.as_dialled:
            last = as_dialled()
            if isinstance(last, Route):
                stages += [Stage(targets=last.targets, timeout=last.timeout), *last.stages]
                otherwise = last.otherwise
            elif isinstance(last, Reject):
                otherwise = last
        if not stages:
            return otherwise or Reject(
                status=404, reason="Not Found: no rule of the dial plan says where this call goes"
            )
        first, *others = stages
        return Route(
            targets=first.targets, timeout=first.timeout, stages=others, otherwise=otherwise, tenant=payer.tenant
        )

    def _legs(self, legs: tuple[Leg, ...], settings: Settings, payer: Account) -> list[Target]:
        found: list[Target] = []
        for leg in legs:
            more = {"after": leg.after, "headers": list(leg.headers)}
            if leg.account is not None:
                targets = routes.targets_of(self._phones(leg.account), self._services.clock())
                found += [target.model_copy(update=more) for target in targets]
            elif leg.number is not None:
                found += [
                    target.model_copy(update={"after": leg.after}) for target in self._number(leg, settings, payer)
                ]
        return found

    def _number(self, leg: Leg, settings: Settings, payer: Account) -> list[Target]:
        """The first provider that takes a leg's number."""
        choice = outbound.choose(leg.number or "", leg.providers[0] if leg.providers else "", settings)
        if choice is None or isinstance(choice, Reject):
            return []
        decision = outbound.through(choice, self._ways(choice), payer)
        return decision.targets if isinstance(decision, Route) else []

    def _ways(self, choice: Choice) -> list[Way]:
        ways = [self._way(f"{self._payer.tenant}/{name}") for name in choice.providers]
        return [way for way in ways if way is not None]

    def _way(self, name: str) -> Way | None:
        """Calls leave from where the account is registered, if anybody is there; else from where they came in."""
        services = self._services
        provider = services.providers.get(name)
        if provider is None:
            return None
        assigned = services.assignments.get(name) if provider.registers else None
        if assigned is None or all(lease.address != assigned.address for lease in services.fleet.get()[0]):
            return Way(provider, self._address, {})
        state = services.providers.state(name)
        known = state.routes if state is not None and state.state == "registered" else ()
        return Way(provider, assigned.address, assigned.ports or {}, known)
