"""Where does this request go?"""

from __future__ import annotations

from lambdas.contract import Decision, LocateQuestion, MeantInstance, Reject, Route, Target, q_delays, short_name
from lambdas.decisions.provider import StoredProvider
from lambdas.decisions.values import StoredAccount, StoredBinding, present


def decide(
    account: StoredAccount,
    called: StoredAccount | None,
    bindings: tuple[StoredBinding, ...],
    now: float,
    calls: bool = True,
) -> Decision:
    """From ``account`` to all ``bindings`` of an account of the same tenant. What another tenant has looks like what
    nobody has. ``calls``: it is a call, which may disturb."""
    if called is None or called.tenant != account.tenant:
        return Reject(status=404, reason="Not Found: no such account")
    if calls and called.enabled and called.do_not_disturb:
        return Reject(status=486, reason="Busy Here: do not disturb")
    targets = targets_of(bindings, now) if called.enabled else []
    if not targets:
        return Reject(status=480, reason="Temporarily Unavailable: not registered", absent=[called.aor])
    return Route(targets=targets, tenant=account.tenant)


def to_instance(
    account: StoredAccount,
    called: StoredAccount | None,
    bindings: tuple[StoredBinding, ...],
    meant: MeantInstance,
    now: float,
    calls: bool,
) -> Decision:
    """As ``decide``, to the instance that is ``meant``. A temporary GRUU ends with its registration."""
    there = present(bindings, now)
    found = [item for item in there if item.instance and short_name(item.instance.lower()) == meant.instance]
    if meant.registration:
        found = [item for item in found if short_name(item.call_id) == meant.registration]
    decision = decide(account, called, tuple(found), now, calls)
    if meant.registration and isinstance(decision, Reject) and decision.status == 480:
        return decision.model_copy(update={"status": 404, "reason": "Not Found: this GRUU is not valid any more"})
    return decision


def locate(question: LocateQuestion, bindings: tuple[StoredBinding, ...], now: float) -> Decision:
    """Where a binding is now, or its instance by another flow, of ``bindings``: 430 if nowhere (RFC 5626 §5.3)."""
    there = [item for item in present(bindings, now) if item.flow not in question.failed]
    mine = [item for item in there if item.id == question.binding]
    names = {item.instance for item in bindings if item.id == question.binding and item.reg_id}
    others = [item for item in reversed(there) if item.reg_id and item.instance in names]
    return Route(targets=[_target(item) for item in (mine or others)[:1]]) if mine or others else Reject(status=430)


def incoming(provider: StoredProvider | None, bindings: dict[str, tuple[StoredBinding, ...]], now: float) -> Decision:
    """A request from a provider: a call to all phones of the accounts that the provider account names, a message
    waiting to those that it names for that. ``bindings`` are those of these accounts."""
    if provider is None or not provider.enabled:
        return Reject(status=404, reason="Not Found")
    targets = [target for items in bindings.values() for target in targets_of(items, now)]
    if not targets:
        return Reject(status=480, reason="Temporarily Unavailable: not registered", absent=list(bindings))
    return Route(targets=targets, tenant=provider.tenant, transfers=provider.transfers)


def called_by(provider: StoredProvider, method: str) -> tuple[str, ...]:
    """The accounts that a request from ``provider`` is for."""
    return provider.message_waiting or provider.incoming if method == "NOTIFY" else provider.incoming


def targets_of(bindings: tuple[StoredBinding, ...], now: float) -> list[Target]:
    """An AOR's phones. Those with the highest q ring first, the others later, or once those have failed (RFC 3261
    §16.6)."""
    found = present(bindings, now)
    after = q_delays(item.q for item in found)
    return [_target(item, after[item.q]) for item in sorted(found, key=lambda item: -item.q)]


def _target(item: StoredBinding, after: float = 0.0) -> Target:
    return Target(
        uri=item.contact,
        flow=item.flow,
        binding=item.id,
        q=item.q,
        aor=item.aor,
        after=after,
        path=item.path,
        instance=item.instance,
        reg_id=item.reg_id,
        registered_at=item.registered_at,
    )
