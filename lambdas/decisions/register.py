"""May this phone register, and what is registered then? (RFC 3261 §10.3)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lambdas.contract import Accept, ContactField, RegisterQuestion, Reject
from lambdas.decisions.digest import refuse
from lambdas.decisions.values import Account, Outcome, Put, StoredBinding, newest, present, remove, written

_MOST_ITEMS = 50  # of one AOR, tombstones included, past which removals of what isn't there leave no mark


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, and how many bindings one AOR may have."""

    min_expires: int = 60
    max_expires: int = 3600
    default_expires: int = 3600
    max_bindings: int = 10


@dataclass(frozen=True, slots=True)
class RegisterFacts:
    """``account`` is the one that the credentials name; ``bindings`` are all items of the AOR."""

    account: Account | None
    bindings: tuple[StoredBinding, ...]


class _Refused(Exception):
    def __init__(self, reject: Reject) -> None:
        super().__init__(reject)
        self.reject = reject


def decide(question: RegisterQuestion, facts: RegisterFacts, now: float, limits: Limits) -> Outcome:
    """All of the REGISTER takes effect, or none of it (§10.3 step 7)."""
    refusal = refuse(question.credentials, "REGISTER", facts.account, question.aor)
    if refusal is not None:
        return Outcome(refusal)
    try:
        puts = _star(question, facts, now) if question.star else _contacts(question, facts, now, limits)
    except _Refused as refused:
        return Outcome(refused.reject)
    after = present(written(facts.bindings, puts), now)
    most = _most(facts.account, limits)
    if len(after) > most and len(after) > len(present(facts.bindings, now)):
        return Outcome(Reject(status=403, reason=f"Forbidden: more than {most} bindings"))
    grant = facts.account.grant if question.grants and facts.account is not None else None
    return Outcome(Accept(bindings=[item.as_binding(now) for item in after], grant=grant), tuple(puts))


def crowd(
    question: RegisterQuestion,
    facts: RegisterFacts,
    puts: Sequence[Put],
    bindings: tuple[StoredBinding, ...],
    now: float,
    limits: Limits,
) -> tuple[Put, ...]:
    """What takes back the bindings that ``puts`` have added to ``facts``, if by now (``bindings``) there are too many:
    others have registered at the same moment, and each found room."""
    added = {item.key for item in present(written(facts.bindings, puts), now)}
    added -= {item.key for item in present(facts.bindings, now)}
    live = present(bindings, now)
    if not added or len(live) <= _most(facts.account, limits):
        return ()
    mine = (item for item in live if item.key in added and item.revision == question.request)
    return tuple(remove(item, f"{question.request}-", now) for item in mine)


def _most(account: Account | None, limits: Limits) -> int:
    own = account.limits.registrations if account is not None else None
    return limits.max_bindings if own is None else min(limits.max_bindings, own)


def _star(question: RegisterQuestion, facts: RegisterFacts, now: float) -> list[Put]:
    puts = []
    for item in present(facts.bindings, now):
        if not _repeated(question, item):
            puts += _removal(question, facts, item, now)
    return puts


def _contacts(question: RegisterQuestion, facts: RegisterFacts, now: float, limits: Limits) -> list[Put]:
    current = newest(facts.bindings)
    puts: list[Put] = []
    for contact in {contact.key: contact for contact in question.contacts}.values():
        expires = _expires(question, contact, limits)
        item = current.get(contact.key)
        if item is not None and _repeated(question, item):
            continue
        if expires:
            puts += _refresh(question, facts, contact, now, expires)
        elif item is not None:
            puts += _removal(question, facts, item, now)
        elif (
            len(facts.bindings) < _MOST_ITEMS
        ):  # an older REGISTER of it may still be under way, and must find that it has been overtaken
            puts.append(Put(_binding(question, facts, contact, now, 0).model_copy(update={"removed": True}), None))
    return puts


def _expires(question: RegisterQuestion, contact: ContactField, limits: Limits) -> int:
    wanted = contact.expires if contact.expires is not None else question.expires
    if wanted is None:
        wanted = limits.default_expires
    if 0 < wanted < limits.min_expires:
        raise _Refused(Reject(status=423, min_expires=limits.min_expires))
    # With a grant the edge gives the phone what it asks for, or less, and reports a phone that stays away.
    return limits.max_expires if wanted and question.grants else min(wanted, limits.max_expires)


def _repeated(question: RegisterQuestion, item: StoredBinding) -> bool:
    """True if this very question made ``item``: an edge asks again when an answer got lost. A REGISTER that isn't newer
    must change nothing."""
    if item.revision == question.request:
        return True
    if item.call_id != question.call_id or question.cseq > item.cseq:
        return False
    raise _Refused(Reject(status=500, reason="Server Internal Error: CSeq is not higher than the last one's"))


def _refresh(
    question: RegisterQuestion, facts: RegisterFacts, contact: ContactField, now: float, expires: int
) -> list[Put]:
    puts: list[Put] = []
    seen: str | None = None
    for item in facts.bindings:
        if item.key != contact.key:
            continue
        if item.address == question.flow[0]:
            seen = item.revision
        elif item.live(now):
            # The phone has moved here; the edge that it left must stop its pings.
            puts.append(remove(item, question.request, now))
    return [Put(_binding(question, facts, contact, now, expires), seen), *puts]


def _binding(
    question: RegisterQuestion, facts: RegisterFacts, contact: ContactField, now: float, expires: int
) -> StoredBinding:
    assert facts.account is not None
    stamp = round(now * 1000)
    return StoredBinding.of(
        question,
        contact,
        contact=contact.uri,
        registered_at=stamp,
        changed_at=stamp,
        expires_at=now + expires,
        revision=question.request,
        tenant=facts.account.tenant,
    )


def _removal(question: RegisterQuestion, facts: RegisterFacts, item: StoredBinding, now: float) -> list[Put]:
    """``item`` and every other live one of its key go; the tombstones carry this REGISTER's place in the order."""
    puts: list[Put] = []
    for other in facts.bindings:
        if other.key == item.key and (other is item or other.live(now)):
            put = remove(other, question.request, now)
            stamp = put.binding.changed_at
            gone = {"call_id": question.call_id, "cseq": question.cseq, "registered_at": stamp}
            puts.append(Put(put.binding.model_copy(update=gone), put.seen))
    return puts
