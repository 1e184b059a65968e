"""Where requests go: to accounts and numbers as dialled, or where plans say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lambdas.calls.admission import Admission
from lambdas.calls.budget import Budget
from lambdas.calls.cache_key import BY_CALLER, KeyedDecision
from lambdas.calls.destinations import Destinations
from lambdas.calls.dial_plans import DialPlans
from lambdas.calls.facts import Facts
from lambdas.calls.media import CallMedia, MediaEnd
from lambdas.calls.request import CallRequest, PlanCall
from lambdas.calls.stages import Stages
from lambdas.calls.tenant_accounts import TenantAccounts
from lambdas.contract import Decision, IncomingQuestion, MeantInstance, Reject, Route, RouteQuestion, TransferQuestion
from lambdas.decisions import echo, outbound
from lambdas.decisions import route as routes
from lambdas.decisions.continuation import Continuation
from lambdas.decisions.digest import refuse
from lambdas.decisions.outbound import Choice
from lambdas.decisions.provider import StoredProvider, TenantSettings
from lambdas.decisions.uris import is_destination, is_user
from lambdas.decisions.values import StoredAccount
from lambdas.decisions.wizard import DialledCall, Step

_GONE = Reject(status=500, reason="Server Internal Error: the dial plan that the call began by is gone")


def route(question: RouteQuestion, facts: Facts) -> Decision:
    """A call, or another request outside a dialog, by one of our accounts."""
    credentials = question.credentials
    account, settings = facts.member(f"{credentials.username}@{credentials.realm}", question.called)
    # Whoever is suspended, or disabled, may still need help.
    emergency = question.method == "INVITE" and _is_emergency(question.called, settings)
    refusal = refuse(credentials, question.method, account, question.caller, emergency)
    if refusal is not None or account is None:
        return refusal or Reject(status=403)
    end = MediaEnd.of(account, settings)
    request = CallRequest(question, account, account.aor, question.called, settings, facts.clock(), end)
    decision = outgoing(request, facts)
    if question.method == "SUBSCRIBE" and isinstance(decision, Route):
        return decision.model_copy(update={"summary": facts.summary(question.called)})
    return decision


def outgoing(request: CallRequest, facts: Facts) -> Decision:
    """A request of one of our accounts, which is known to be its own."""
    return _of_tenant(_Routing(request, facts).of_account(), request.payer.tenant)


def replacing(request: CallRequest, facts: Facts) -> Decision:
    """The same, where it is to take the place of a call under way: no plan sends that elsewhere."""
    return _of_tenant(_Routing(request, facts).of_phones(), request.payer.tenant)


def incoming(question: IncomingQuestion, facts: Facts) -> Decision:
    """A request by a provider, for the Contact or for a number of one of its accounts."""
    provider = facts.with_number(question.places, question.number) if question.places else None
    if provider is None and question.provider:
        provider = facts.provider(question.provider)
    if provider is None or not provider.enabled:
        if not question.provider:
            facts.unknown_number(question)
        return Reject(status=404, reason="Not Found")
    if provider.registers and facts.assigned(provider.id) != question.address:
        # Only who holds the registration hears the provider.
        return Reject(status=404, reason="Not Found", tenant=provider.tenant)
    if question.number and provider.registers and not facts.proven(provider):
        return Reject(status=404, reason="Not Found", tenant=provider.tenant)
    settings = facts.settings(provider.tenant)
    if settings.suspended:
        return Reject(status=480, reason="Temporarily Unavailable: suspended", tenant=provider.tenant)
    # Whoever answers for it pays for what goes on to another provider.
    payer = StoredAccount(aor="", tenant=provider.tenant, ha1_md5="", ha1_sha256="")
    caller = question.caller.partition("@")[0]
    named = question.model_copy(update={"provider": provider.id})
    end = MediaEnd.of(provider, settings)
    request = CallRequest(named, payer, caller, question.dialled, settings, facts.clock(), end)
    decision = _of_tenant(_Routing(request, facts).of_provider(provider), payer.tenant)
    if isinstance(decision, Route) and provider.id != question.provider:
        decision = decision.model_copy(update={"provider": provider.id})
    return decision


def _of_tenant(decision: Decision, tenant: str) -> Decision:
    """A refusal with whose call it is, for the record."""
    return decision.model_copy(update={"tenant": tenant}) if isinstance(decision, Reject) else decision


class _Routing:
    """One request's way through plans, accounts and providers."""

    def __init__(self, request: CallRequest, facts: Facts) -> None:
        self._request = request
        self._facts = facts
        before = Continuation.parse(request.question.again)
        self._budget = Budget(facts.monotonic, request.question.diversions, before.outside if before else 0)
        self._accounts = TenantAccounts(facts, request.payer.tenant, request.question.closed)
        self._destinations = Destinations(request, self._accounts, facts, self._budget)
        self._media = CallMedia(request.end, request.settings, self._accounts.get, self._destinations.way)
        self._stages = Stages(request, self._destinations, self._budget)
        self._plans = DialPlans(request, facts, self._budget, self._stages)

    def of_account(self) -> Decision:
        """By the tenant's plan for outgoing calls, if it has one, or as dialled."""
        request = self._request
        if request.is_call and _is_emergency(request.called, request.settings):
            to_help = self._kept(self._as_dialled(request.called, request.payer))
            return Admission(request, self._accounts.get, self._facts).admit_emergency(
                self._media.of_emergency(to_help)
            )
        if request.question.redirected_by:
            return self._admitted(self._redirected(transfers=False))
        if request.question.again:
            return self._admitted(self._go_on(None))
        if isinstance(request.question, RouteQuestion) and request.question.binding:
            return self._admitted(self._to_phone(request.question.binding))
        if isinstance(request.question, RouteQuestion | TransferQuestion) and request.question.instance:
            return self._admitted(self._to_instance(request.question))
        return self._admitted(self._kept(self._of_account()))

    def of_phones(self) -> Decision:
        """To the phones of whoever is called. They ring no more than they do: one of them has that call."""
        request = self._request
        if isinstance(request.question, TransferQuestion) and request.question.instance:
            return self._admitted(self._to_instance(request.question, calls=False))
        bindings = self._accounts.bindings(request.called)
        called = self._accounts.get(request.called)
        return self._admitted(routes.decide(request.payer, called, bindings, request.now, calls=False))

    def _of_account(self) -> KeyedDecision:
        request = self._request
        if not request.is_call or not request.settings.plan:
            return self._as_dialled(request.called, request.payer)
        return self._by_plan(self._outgoing(), lambda: self._as_dialled(request.called, request.payer))

    def of_provider(self, provider: StoredProvider) -> Decision:
        """By the provider account's plan, or to the accounts that it names."""
        request = self._request
        if request.question.redirected_by:
            return self._admitted(self._redirected(provider.transfers))
        if request.question.again:
            return self._admitted(self._go_on(provider))
        if request.is_call and provider.plan:
            decided = self._by_plan(self._from_provider(provider), lambda: self._to_named(provider))
        else:
            decided = self._to_named(provider)
        return self._admitted(self._kept(decided))

    def _kept(self, decided: KeyedDecision) -> Decision:
        """With how far it may be used when none can be had."""
        request = self._request
        if request.payer.aor and request.end.media != request.settings.media:
            decided = decided.resting_on(BY_CALLER)  # others may want other ways for their media
        return decided.kept(request.question, request.now)

    def _admitted(self, decision: Decision) -> Decision:
        """As far as limits allow it."""
        request = self._request
        if not request.is_call:
            return decision
        admitted = Admission(request, self._accounts.get, self._facts).admit(self._media.decided(decision))
        if isinstance(admitted, Route) and not request.question.again:
            self._facts.started(request.question, request.payer.tenant)
        return admitted

    def _by_plan(self, call: PlanCall, otherwise: Callable[[], KeyedDecision]) -> KeyedDecision:
        return self._plans.decide(call, self._as_dialled, otherwise)

    def _go_on(self, provider: StoredProvider | None) -> Decision:
        """All that the plan said has failed, and its script wants to be asked again."""
        before = self._plans.before
        if before is None:
            return _GONE
        if before.owner:
            account = self._accounts.get(before.owner)
            call = self._to_account_by_plan(account) if account is not None else None
        else:
            call = self._from_provider(provider) if provider is not None else self._outgoing()
        decided = self._plans.go_on(call, before, self._as_dialled) if call is not None else None
        return decided.decision if decided is not None else _GONE

    def _redirected(self, transfers: bool) -> Decision:
        """A phone that was rung has sent the call elsewhere: as if its account's plan had, and at its expense."""
        question = self._request.question
        account = self._accounts.usable(question.redirected_by)
        if account is None or not is_destination(question.redirected_to):
            return Reject(status=404, reason="Not Found: nobody can be called where the phone redirects to")
        self._budget.visit(account.aor)
        by = replace(self._to_account_by_plan(account), transfers=transfers)
        return self._stages.redirected(question.redirected_to, by, self._as_dialled)

    # Whose plan it is, and what is meant by "as dialled" there

    def _outgoing(self) -> PlanCall:
        request = self._request
        user, _, host = request.called.rpartition("@")

        def as_dialled(step: Step) -> KeyedDecision:
            changed = step.called if "@" in step.called else f"{step.called}@{host}"
            return self._as_dialled(changed, request.payer_of(step))

        called = user if self._destinations.ours(host) else request.called
        return PlanCall(request.settings.plan, self._call("outgoing", called), as_dialled)

    def _to_account_by_plan(self, called: StoredAccount) -> PlanCall:
        call = self._call("incoming", called.aor)
        return PlanCall(called.plan, call, lambda _: self._to_phones(called), called.aor, f"sip:{called.aor}")

    def _from_provider(self, provider: StoredProvider) -> PlanCall:
        called = self._request.called
        call = replace(self._call("incoming", called), provider=provider.id.rpartition("/")[2])
        by = f"sip:{called}@{provider.domain}" if is_user(called) else f"sip:{provider.domain}"
        transfers = provider.transfers
        return PlanCall(provider.plan, call, lambda _: self._to_named(provider), diverted=by, transfers=transfers)

    def _call(self, direction: str, called: str) -> DialledCall:
        question = self._request.question
        # Who is called mustn't know it, nor whoever writes his plan.
        withheld = isinstance(question, RouteQuestion) and question.withheld and direction == "incoming"
        return DialledCall(
            direction=direction,
            caller="anonymous" if withheld else self._request.caller,
            called=called,
            at=self._request.now,
            registered=self._accounts.registered,
            disturbing=self._accounts.disturbing,
            outcomes=tuple(question.outcomes),
        )

    # Destinations

    def _choose(self, called: str) -> Choice | Reject | None:
        """Which providers a number goes to; a refusal where it isn't one to dial, or an emergency call has nowhere to
        go."""
        user, _, host = called.rpartition("@")
        return outbound.choose(user, () if self._destinations.ours(host) else (host,), self._request.settings)

    def _as_dialled(self, called: str, payer: StoredAccount) -> KeyedDecision:
        """To an account, or by the tenant's routes to a provider."""
        choice, host = self._choose(called), called.rpartition("@")[2]
        ours = self._destinations.ours(host)
        account = self._accounts.get(called) if ours and not _is_emergency(called, self._request.settings) else None
        # What another tenant has looks like what nobody has.
        if account is not None and account.tenant == self._request.payer.tenant:
            return self._to_account(account)
        if ours and called.rpartition("@")[0] in echo.NAMES and self._request.is_call and self._answers_echo():
            return KeyedDecision(echo.route(host, self._request.payer.tenant))
        emergency = isinstance(choice, Choice) and choice.number.emergency
        if not (ours or emergency or self._destinations.has_provider(host)):
            return KeyedDecision(outbound.elsewhere(host))
        if choice is None:
            return KeyedDecision(outbound.nowhere(called.rpartition("@")[0], self._request.settings))
        if isinstance(choice, Reject):
            return KeyedDecision(choice)
        if not self._request.is_call:
            return KeyedDecision(Reject(status=405, reason="Method Not Allowed: only calls go to providers"))
        # Its caller ID goes along.
        return KeyedDecision(self._destinations.through(choice, payer), BY_CALLER)

    def _answers_echo(self) -> bool:
        return self._facts.spoken() >= echo.SINCE

    def _to_account(self, called: StoredAccount) -> KeyedDecision:
        """By its plan, if it has one."""
        if not (called.plan and called.enabled and self._request.is_call):
            return self._to_phones(called)
        if self._budget.visited(called.aor):
            reason = f"Loop Detected: {called.aor} was called before in this call"
            return KeyedDecision(Reject(status=482, reason=reason))
        return self._by_plan(self._to_account_by_plan(called), lambda: self._to_phones(called))

    def _to_phones(self, called: StoredAccount) -> KeyedDecision:
        request = self._request
        self._keep_summary(called.aor)
        bindings = self._accounts.bindings(called.aor)
        return KeyedDecision(routes.decide(request.payer, called, bindings, request.now, request.is_call))

    def _to_phone(self, binding: str) -> Decision:
        """To that one of the called account's phones: who calls a phone itself doesn't ask its account's plan."""
        request = self._request
        called = self._accounts.get(request.called)
        meant = tuple(item for item in self._accounts.bindings(request.called) if item.id == binding)
        return routes.decide(request.payer, called, meant, request.now, request.is_call)

    def _to_instance(self, meant: MeantInstance, calls: bool = True) -> Decision:
        """To the phone that a GRUU is of (RFC 5627 §5.4)."""
        request = self._request
        called, bindings = self._accounts.get(request.called), self._accounts.bindings(request.called)
        return routes.to_instance(request.payer, called, bindings, meant, request.now, calls and request.is_call)

    def _to_named(self, provider: StoredProvider) -> KeyedDecision:
        """To the accounts that the provider account names."""
        request = self._request
        wanted = routes.called_by(provider, request.question.method)
        willing = [aor for aor in wanted if not (request.is_call and self._accounts.disturbing(aor))]
        if wanted and not willing:
            return KeyedDecision(Reject(status=486, reason="Busy Here: do not disturb"))
        for aor in willing:
            self._keep_summary(aor)
        phones = {aor: self._destinations.phones(aor) for aor in willing}
        decision = routes.incoming(provider, phones, request.now)
        if isinstance(decision, Route):
            targets = [target.model_copy(update={"account": target.aor}) for target in decision.targets]
            decision = decision.model_copy(update={"targets": targets})
        return KeyedDecision(decision)

    def _keep_summary(self, aor: str) -> None:
        """What a NOTIFY says of an account's messages, whether a phone of it is registered just now or not."""
        question = self._request.question
        if question.method == "NOTIFY" and isinstance(question, RouteQuestion | IncomingQuestion) and question.summary:
            self._facts.keep_summary(aor, question.summary)


def _is_emergency(called: str, settings: TenantSettings) -> bool:
    return outbound.is_emergency(called.rpartition("@")[0], settings)
