"""May this phone register, and what is registered then? (RFC 3261 §10.3)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lambdas.contract import MOST_CONTACTS, Accept, ContactField, Order, RegisterQuestion, refusal, wanted
from lambdas.decisions.digest import refuse
from lambdas.decisions.values import Account, Outcome, Put, StoredBinding, newest, present, remove, written

_MOST_ITEMS = 50  # of one AOR, tombstones included, past which removals of what isn't there leave no mark


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a binding lasts at most, and where the phone leaves that to us."""

    max_expires: int = 3600
    default_expires: int = 3600


@dataclass(frozen=True, slots=True)
class RegisterFacts:
    """``account`` is the one that the credentials name; ``bindings`` are all items of the AOR."""

    account: Account | None
    bindings: tuple[StoredBinding, ...]


def decide(question: RegisterQuestion, facts: RegisterFacts, now: float, limits: Limits) -> Outcome:
    """All of the REGISTER takes effect, or none of it (§10.3 step 7)."""
    refused = refuse(question.credentials, "REGISTER", facts.account, question.aor)
    if refused is not None:
        return Outcome(refused)
    current = newest(facts.bindings)
    there = [item.key for item in present(facts.bindings, now)]
    contacts = {contact.key: contact for contact in question.contacts}
    asked = {key: wanted(contact, question.expires) for key, contact in contacts.items()}
    if question.star:
        asked = dict.fromkeys(there, 0)
    asked = {key: seconds for key, seconds in asked.items() if not _repeated(question, current.get(key))}
    known = {key: Order(item.call_id, item.cseq) for key, item in current.items()}
    rejected = refusal(Order(question.call_id, question.cseq), asked, known, there, _most(facts.account))
    if rejected is not None:
        return Outcome(rejected)
    puts: list[Put] = []
    for key, seconds in asked.items():
        if seconds != 0:
            puts += _refresh(question, facts, contacts[key], now, _durable(question, seconds, limits))
        elif key in current:
            puts += _removal(question, facts, current[key], now)
        elif len(facts.bindings) < _MOST_ITEMS:
            # An older REGISTER of it may still be under way, and must find that it has been overtaken.
            puts.append(
                Put(_binding(question, facts, contacts[key], now, 0).model_copy(update={"removed": True}), None)
            )
    after = present(written(facts.bindings, puts), now)
    grant = facts.account.grant if question.grants and facts.account is not None else None
    return Outcome(Accept(bindings=[item.as_binding(now) for item in after], grant=grant), tuple(puts))


def crowd(
    question: RegisterQuestion,
    facts: RegisterFacts,
    puts: Sequence[Put],
    bindings: tuple[StoredBinding, ...],
    now: float,
) -> tuple[Put, ...]:
    """What takes back the bindings that ``puts`` have added to ``facts``, if by now (``bindings``) there are too many:
    others have registered at the same moment, and each found room."""
    added = {item.key for item in present(written(facts.bindings, puts), now)}
    added -= {item.key for item in present(facts.bindings, now)}
    live = present(bindings, now)
    if not added or len(live) <= _most(facts.account):
        return ()
    mine = (item for item in live if item.key in added and item.revision == question.request)
    return tuple(remove(item, f"{question.request}-", now) for item in mine)


def _most(account: Account | None) -> int:
    own = account.limits.registrations if account is not None else None
    return MOST_CONTACTS if own is None else min(MOST_CONTACTS, own)


def _durable(question: RegisterQuestion, seconds: int | None, limits: Limits) -> int:
    """For how long a binding is stored. With a grant the edge gives the phone what it asks for, or less, and reports a
    phone that stays away."""
    lasting = limits.default_expires if seconds is None else seconds
    return limits.max_expires if question.grants else min(lasting, limits.max_expires)


def _repeated(question: RegisterQuestion, item: StoredBinding | None) -> bool:
    """True if this very question made ``item``: an edge asks again when an answer got lost."""
    return item is not None and item.revision == question.request


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
