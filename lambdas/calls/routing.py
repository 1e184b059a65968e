"""Where calls go: facts looked up as plans and decisions ask for them."""

from __future__ import annotations

from dataclasses import replace

from lambdas.api.services import Services
from lambdas.calls.admission import Admission
from lambdas.calls.stages import Composing, Turn
from lambdas.contract import Decision, IncomingQuestion, Reject, Route, RouteQuestion
from lambdas.decisions import outbound
from lambdas.decisions import route as routes
from lambdas.decisions.digest import refuse
from lambdas.decisions.outbound import Choice
from lambdas.decisions.provider import Provider
from lambdas.decisions.uris import is_user
from lambdas.decisions.values import Account
from lambdas.decisions.wizard import Call, Step

_GONE = Reject(status=500, reason="Server Internal Error: the dial plan that the call began by is gone")


def route(question: RouteQuestion, services: Services) -> Decision:
    """A call, or another request outside a dialog, by one of our accounts."""
    credentials = question.credentials
    account, settings = services.directory.member(f"{credentials.username}@{credentials.realm}")
    refusal = refuse(credentials, question.method, account, question.caller)
    if refusal is not None or account is None:
        return refusal or Reject(status=403)
    routing = _Routing(question, account, account.aor, settings, services)
    return _named(routing.of_account(question.called), account)


def incoming(question: IncomingQuestion, services: Services) -> Decision:
    """A request by a provider."""
    provider = services.providers.get(question.provider)
    if provider is None or not provider.enabled:
        return Reject(status=404, reason="Not Found")
    settings = services.directory.settings(provider.tenant)
    if settings.suspended:
        return Reject(status=480, reason="Temporarily Unavailable: suspended", tenant=provider.tenant)
    # Whoever answers for it pays for what goes on to another provider.
    payer = Account(aor="", tenant=provider.tenant, ha1_md5="", ha1_sha256="")
    routing = _Routing(question, payer, question.caller.partition("@")[0], settings, services)
    return _named(routing.of_provider(provider), payer)


def _named(decision: Decision, payer: Account) -> Decision:
    """A refusal with whose call it is, for the record."""
    return decision.model_copy(update={"tenant": payer.tenant}) if isinstance(decision, Reject) else decision


class _Routing(Composing):
    """One request's way through plans, accounts and providers."""

    def of_account(self, called: str) -> Decision:
        """By the tenant's plan for outgoing calls, if it has one, or as dialled."""
        self.called = called
        if self.calls and self._is_emergency(called):
            return self.kept(self.as_dialled(called, self.payer))  # nothing may stand in its way
        if self.question.again:
            return self._admitted(self._go_on(None))
        plan = self.settings.plan if self.calls else ""
        judged = self.by_plan(self._outgoing_turn()) if plan else None
        return self._admitted(self.kept(judged if judged is not None else self.as_dialled(called, self.payer)))

    def of_provider(self, provider: Provider) -> Decision:
        """By the provider account's plan, or to the accounts that it names."""
        assert isinstance(self.question, IncomingQuestion)
        self.called = self.question.dialled
        if self.question.again:
            return self._admitted(self._go_on(provider))
        judged = self.by_plan(self._provider_turn(provider)) if self.calls and provider.plan else None
        return self._admitted(self.kept(judged if judged is not None else self._named(provider)))

    def _admitted(self, decision: Decision) -> Decision:
        """As far as limits allow it."""
        if not self.calls:
            return decision
        admission = Admission(self.question, self.payer, self.settings, self.accounts.get, self.services)
        admitted = admission.admit(decision)
        if isinstance(admitted, Route) and not self.question.again:
            self.services.notices.started(self.question, self.payer.tenant, self.now)
        return admitted

    def _go_on(self, provider: Provider | None) -> Decision:
        """All that the plan said has failed, and its script wants to be asked again."""
        before = self.before
        if before is None:
            return _GONE
        if before.owner:
            account = self.accounts.get(before.owner)
            turn = self._account_turn(account) if account is not None else None
        else:
            turn = self._provider_turn(provider) if provider is not None else self._outgoing_turn()
        decided = self.by_plan(turn, before) if turn is not None else None
        return decided if decided is not None else _GONE

    # Whose plan it is, and what is meant by "as dialled" there

    def _outgoing_turn(self) -> Turn:
        user, _, host = self.called.rpartition("@")
        ours = self.ours(host)

        def as_dialled(step: Step) -> Decision:
            changed = step.called if "@" in step.called else f"{step.called}@{host}"
            return self.as_dialled(changed, self.paying(step))

        call = self._call("outgoing", user if ours else self.called)
        return Turn(self.settings.plan, call, as_dialled)

    def _account_turn(self, called: Account) -> Turn:
        def as_dialled(_: Step) -> Decision:
            return self._to_phones(called)

        return Turn(called.plan, self._call("incoming", called.aor), as_dialled, called.aor, f"sip:{called.aor}")

    def _provider_turn(self, provider: Provider) -> Turn:
        call = replace(self._call("incoming", self.called), provider=provider.id.rpartition("/")[2])
        by = f"sip:{self.called}@{provider.domain}" if is_user(self.called) else f"sip:{provider.domain}"
        return Turn(provider.plan, call, lambda step: self._named(provider), diverted=by, transfers=provider.transfers)

    def _call(self, direction: str, called: str) -> Call:
        return Call(
            direction=direction,
            caller=self.caller,
            called=called,
            at=self.now,
            registered=self.accounts.registered,
            disturbing=self.accounts.disturbing,
            outcomes=tuple(self.question.outcomes),
        )

    # Destinations

    def _is_emergency(self, called: str) -> bool:
        return _emergency(self._choose(called))

    def _choose(self, called: str) -> Choice | Reject | None:
        """Which providers a number goes to; a refusal where an emergency call has nowhere to go."""
        user, _, host = called.rpartition("@")
        return outbound.choose(user, () if self.ours(host) else (host,), self.settings)

    def as_dialled(self, called: str, payer: Account) -> Decision:
        """To an account, or by the tenant's routes to a provider."""
        choice = self._choose(called)
        ours = self.ours(called.rpartition("@")[2])
        account = self.accounts.get(called) if ours and not _emergency(choice) else None
        # What another tenant has looks like what nobody has.
        if account is not None and account.tenant == self.payer.tenant:
            return self._to_account(account)
        if choice is None:
            return outbound.nowhere(called.rpartition("@")[0], self.settings)
        if isinstance(choice, Reject):
            return choice
        if not self.calls:
            return Reject(status=405, reason="Method Not Allowed: only calls go to providers")
        self.rests_on.caller = True  # its caller ID goes along
        return outbound.through(choice, self.ways(choice), payer)

    def _to_account(self, called: Account) -> Decision:
        """By its plan, if it has one."""
        mine = called.tenant == self.payer.tenant
        if called.plan and called.enabled and mine and self.calls:
            if called.aor in self.visited:
                return Reject(status=482, reason=f"Loop Detected: {called.aor} was called before in this call")
            judged = self.by_plan(self._account_turn(called))
            if judged is not None:
                return judged
        return self._to_phones(called)

    def _to_phones(self, called: Account) -> Decision:
        return routes.decide(self.payer, called, self.accounts.bindings(called.aor), self.now, self.calls)

    def _named(self, provider: Provider) -> Decision:
        """To the accounts that the provider account names."""
        wanted = routes.called_by(provider, self.question.method)
        willing = [aor for aor in wanted if not (self.calls and self.accounts.disturbing(aor))]
        if wanted and not willing:
            return Reject(status=486, reason="Busy Here: do not disturb")
        decision = routes.incoming(provider, {aor: self.phones(aor) for aor in willing}, self.now)
        if isinstance(decision, Route):
            targets = [target.model_copy(update={"account": target.aor}) for target in decision.targets]
            return decision.model_copy(update={"targets": targets})
        return decision


def _emergency(choice: Choice | Reject | None) -> bool:
    return isinstance(choice, Reject) or (choice is not None and choice.number.emergency)
