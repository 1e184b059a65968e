"""Registering while the control plane is out of reach (static stability): known accounts go on, by their grants, under
the rules that the control plane has; what becomes of their bindings is reported to it later."""

from __future__ import annotations

from edge.proxy.location.bindings import HeldBinding
from edge.proxy.location.grants import HeldGrant
from edge.proxy.registrar.binding_report import report
from edge.proxy.registrar.expiries import DURABLE, SHORT, SHORT_SPREAD, woken
from edge.proxy.registrar.register_request import AskedContact, RegisterRequest
from edge.proxy.stack.stack import Stack
from lambdas.contract import Order, Push, Reject, refusal, stalest


class Undecided:
    """Does what a REGISTER asks for without a decision."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def register(self, asked: RegisterRequest, grant: HeldGrant, nonce_made: float, now: float) -> Reject | None:
        """Do it; or why the control plane wouldn't."""
        stack, incoming = self._stack, asked.incoming
        held = dict(stack.bindings.all_of(asked.aor))
        known = {binding: Order(one.call_id, one.cseq, stack.wall(one.taken_at)) for binding, one in held.items()}
        wanted: dict[str, int | None] = dict.fromkeys(held, 0) if asked.star else {}
        named = {asked.name(contact, stack.bindings): contact for contact in asked.contacts}
        wanted.update((binding, contact.wanted) for binding, contact in named.items())
        refused = refusal(Order(incoming.call_id, incoming.cseq, nonce_made), wanted, known)
        if refused is not None:
            return refused
        stack.counters["undecided_registrations"] += 1
        gone = stalest(wanted, {binding: _silence(one, now) for binding, one in held.items()})
        for binding, contact in named.items():
            if contact.wanted != 0:
                self._bind(binding, contact, asked, grant, now)
        for binding in [*gone, *(binding for binding, seconds in wanted.items() if seconds == 0)]:
            self._unbind(binding, asked, now)
        return None

    def _bind(self, binding: str, contact: AskedContact, asked: RegisterRequest, grant: HeldGrant, now: float) -> None:
        stack, incoming, uri = self._stack, asked.incoming, contact.field.uri
        held = stack.bindings.get(binding) or stack.bindings.asleep.get(binding)
        push = _woken_by(contact, held)
        until = now + (woken(contact.wanted) if push is not None else min(contact.granted, SHORT + SHORT_SPREAD))
        told = (held.flow, held.contact, held.path) if held is not None else None
        same = told == (incoming.flow, uri, asked.path)
        durable = held.durable_until if held is not None and same else now + DURABLE  # as far as anybody will know
        new = HeldBinding(
            asked.aor, uri, incoming.flow, until, durable, now + min(DURABLE, contact.wanted or DURABLE),
            incoming.call_id, incoming.cseq, grant.tenant, contact.params, asked.path,
            held.key if held is not None else contact.field.key, push,
        )  # fmt: skip
        stack.bindings.put(binding, new, now, fresh=True)
        if not same:
            stack.questions.journal(report(new, stack.wall(now), DURABLE))
            stack.tell_registered(asked.aor, None, (binding,))

    def _unbind(self, binding: str, asked: RegisterRequest, now: float) -> None:
        stack = self._stack
        held = stack.bindings.get(binding) or stack.bindings.asleep.get(binding)
        if held is not None:
            stack.bindings.remove(binding)
            if held.call_id == asked.incoming.call_id:
                held.cseq = max(held.cseq, asked.incoming.cseq)
            stack.questions.journal(report(held, stack.wall(now), 0))


def _woken_by(contact: AskedContact, held: HeldBinding | None) -> Push | None:
    """As the phone says now, where its service was accepted before."""
    push = contact.field.push
    if push is None or not push.prid or held is None or held.push is None or held.push.provider != push.provider:
        return None
    return push.model_copy(update={"vapid": held.push.vapid})


def _silence(held: HeldBinding, now: float) -> float:
    """For how long nothing says that it is there, in seconds; of a phone that may sleep nothing need."""
    return 0.0 if held.push is not None else now - held.heard_at
