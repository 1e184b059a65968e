"""May this phone register, and what is registered then? (RFC 3261 §10.3)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lambdas.contract import (
    MOST_CONTACTS,
    Accept,
    ContactField,
    Order,
    Push,
    RegisterQuestion,
    Reject,
    refusal,
    stalest,
    wanted,
)
from lambdas.decisions.digest import refuse
from lambdas.decisions.push import PushService
from lambdas.decisions.values import (
    Put,
    RegisterOutcome,
    StoredAccount,
    StoredBinding,
    newest,
    present,
    remove,
    written,
)

_MOST_ITEMS = 50  # of one AOR, tombstones included, past which removals of what isn't there leave no mark
_SILENT = 45.0  # seconds: three keep-alives. A phone that answers none is gone, or may as well be
_ELSEWHERE = 30.0
"""Seconds for which a phone that the asking edge can't speak for may have been silent: its own edge would have reported
one that is gone."""


@dataclass(frozen=True, slots=True)
class Expiries:
    """Seconds that a binding lasts at most, and where the phone leaves that to us."""

    max_expires: int = 3600
    default_expires: int = 3600


@dataclass(frozen=True, slots=True)
class RegisterFacts:
    """``account`` is the one that the credentials name; ``bindings`` are all items of the AOR; ``services`` are the
    push notification services of its tenant, read where a Contact names one."""

    account: StoredAccount | None
    bindings: tuple[StoredBinding, ...]
    services: tuple[PushService, ...] = ()


def decide(question: RegisterQuestion, facts: RegisterFacts, now: float, expiries: Expiries) -> RegisterOutcome:
    """All of the REGISTER takes effect, or none of it (§10.3 step 7)."""
    refused = refuse(question.credentials, "REGISTER", facts.account, question.aor)
    if refused is not None:
        return RegisterOutcome(refused)
    unserved = next((one for one in question.contacts if _unserved(one, question, facts.services)), None)
    if unserved is not None:
        return RegisterOutcome(Reject(status=555, reason="Push Notification Service Not Supported"))
    contacts = _named(question, facts, now)
    names = _Names(question, contacts)
    current = newest(facts.bindings, names.of)
    there = {names.of(item): item for item in present(facts.bindings, now, names.of)}
    asked = {key: wanted(contact, question.expires) for key, contact in contacts.items()}
    if question.star:
        asked = dict.fromkeys(there, 0)
    asked = {key: seconds for key, seconds in asked.items() if not _repeated(question, current.get(key))}
    known = {key: item.order for key, item in current.items()}
    most = _most(facts.account)
    rejected = refusal(_order(question), asked, known, most)
    if rejected is not None:
        return RegisterOutcome(rejected)
    going = [there[key] for key in stalest(asked, _silences(there, question, now), most)]
    if most < MOST_CONTACTS and not all(_may_go(item, question, now) for item in going):
        # An account's own limit was set by somebody, who has to choose.
        return RegisterOutcome(Reject(status=403, reason=f"Forbidden: more than {most} bindings"))
    puts = [remove(item, question.request, now) for item in going]
    for key, seconds in asked.items():
        if seconds != 0:
            puts += _refresh(question, facts, names, contacts[key], now, _durable(question, seconds, expiries))
        elif key in current:
            puts += _removal(question, facts, names, current[key], now)
        elif len(facts.bindings) < _MOST_ITEMS:
            # An older REGISTER of it may still be under way, and must find that it has been overtaken.
            puts.append(
                Put(_binding(question, facts, contacts[key], now, 0).model_copy(update={"removed": True}), None)
            )
    new = [contacts[key] for key, seconds in asked.items() if seconds != 0 and key not in there]
    left = [item for key, item in there.items() if key not in contacts and item not in going and item.push is None]
    puts += [_doubted(item, question, now) for item in left if any(_same_phone(item, question, one) for one in new)]
    after = present(written(facts.bindings, puts), now)
    grant = facts.account.grant if question.grants and facts.account is not None else None
    bindings = [item.as_binding(now) for item in after]
    return RegisterOutcome(Accept(bindings=bindings, grant=grant, services=_asked_for(question, facts)), tuple(puts))


# Push notification services (RFC 8599 §5.6.1)


def _unserved(contact: ContactField, question: RegisterQuestion, services: Sequence[PushService]) -> bool:
    """Whether its phone wants to be woken by a service that its tenant doesn't have, or without what that needs. A
    tenant that has none at all takes no notice of such wishes: many phones have them whether anybody answers or not."""
    push = contact.push
    if push is None or not push.prid or not services or wanted(contact, question.expires) == 0:
        return False
    return all(not service.serves(push) for service in services)


def _served(contact: ContactField, services: Sequence[PushService]) -> Push | None:
    """How its phone is woken."""
    push = contact.push
    if push is None or not push.prid:
        return None
    vapid = next((service.vapid for service in services if service.serves(push)), None)
    return push.model_copy(update={"vapid": vapid}) if vapid is not None else None


def _asked_for(question: RegisterQuestion, facts: RegisterFacts) -> list[Push]:
    """The services that the phone wants to hear of (§4.1.5)."""
    asked = [one.push.provider for one in question.contacts if one.push is not None and not one.push.prid]
    return [
        Push(provider=service.provider, vapid=service.vapid)
        for service in facts.services
        if "" in asked or service.provider in asked
    ]


def _named(question: RegisterQuestion, facts: RegisterFacts, now: float) -> dict[str, ContactField]:
    """The Contacts, by the keys that their bindings have: those that edges of other versions, or the same phone at
    another address, have made stay, since dialogs name bindings by them."""
    there = present(facts.bindings, now)
    taken = {item.key for item in there} & {contact.key for contact in question.contacts}
    found: dict[str, ContactField] = {}
    for contact in question.contacts:
        others = (item.key for item in there if item.key not in taken and item.stands_for(contact, question))
        key = contact.key if contact.key in taken else next(others, contact.key)
        taken.add(key)
        found[key] = contact.model_copy(update={"key": key})
    return found


class _Names:
    """What bindings are called in one REGISTER: by the keys of its Contacts' bindings, whatever key they have."""

    def __init__(self, question: RegisterQuestion, contacts: dict[str, ContactField]) -> None:
        self._question = question
        self._contacts = contacts

    def of(self, item: StoredBinding) -> str:
        if item.key in self._contacts:
            return item.key
        names = (key for key, one in self._contacts.items() if item.stands_for(one, self._question))
        return next(names, item.key)


def _order(question: RegisterQuestion) -> Order:
    return Order(question.call_id, question.cseq, question.nonce_made)


# Who makes room, and who may have gone


def _silences(there: dict[str, StoredBinding], question: RegisterQuestion, now: float) -> dict[str, float]:
    """For how long each binding's phone may have been silent, in seconds. One that sleeps is silent, and there."""
    return {
        key: 0.0 if item.push else question.silent.get(item.id, min(_ELSEWHERE, now - item.registered_at / 1000))
        for key, item in there.items()
    }


def _may_go(item: StoredBinding, question: RegisterQuestion, now: float) -> bool:
    return (item.push is None and question.silent.get(item.id, 0.0) > _SILENT) or any(
        _same_phone(item, question, one) for one in question.contacts
    )


def _same_phone(item: StoredBinding, question: RegisterQuestion, new: ContactField) -> bool:
    """Whether ``item`` may be where the phone that now registers ``new`` was before: it has the same instance, or goes
    on with the same Call-ID for the same user. Instances that name their flows (RFC 5626 §6) have as many bindings as
    they like."""
    if item.instance and item.instance == new.instance:
        return not (item.reg_id and new.reg_id)
    same_call = item.call_id == question.call_id and _user(item.contact) == _user(new.uri)
    return same_call and _order(question).follows(item.order)


def _user(contact: str) -> str:
    return contact.partition("@")[0]


def _doubted(item: StoredBinding, question: RegisterQuestion, now: float) -> Put:
    """``item``, which the edge that has it is to try."""
    stamp = round(now * 1000)
    doubt = {"doubted_at": stamp, "changed_at": stamp, "revision": question.request}
    return Put(item.model_copy(update=doubt), item.revision)


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


def _most(account: StoredAccount | None) -> int:
    own = account.limits.registrations if account is not None else None
    return MOST_CONTACTS if own is None else min(MOST_CONTACTS, own)


def _durable(question: RegisterQuestion, seconds: int | None, expiries: Expiries) -> int:
    """For how long a binding is stored. With a grant the edge gives the phone what it asks for, or less, and reports a
    phone that stays away."""
    lasting = expiries.default_expires if seconds is None else seconds
    return expiries.max_expires if question.grants else min(lasting, expiries.max_expires)


def _repeated(question: RegisterQuestion, item: StoredBinding | None) -> bool:
    """True if this very question made ``item``: an edge asks again when an answer got lost."""
    return item is not None and item.revision == question.request


def _refresh(
    question: RegisterQuestion,
    facts: RegisterFacts,
    names: _Names,
    contact: ContactField,
    now: float,
    expires: int,
) -> list[Put]:
    puts: list[Put] = []
    seen: str | None = None
    for item in facts.bindings:
        if names.of(item) != contact.key:
            continue
        if (item.key, item.address) == (contact.key, question.flow[0]):
            seen = item.revision
        elif item.live(now):
            # The phone has moved here; the edge that it left must stop its pings.
            puts.append(_overtaken(remove(item, question.request, now), question))
        elif item.call_id == question.call_id and item.cseq >= question.cseq:
            puts.append(_overtaken(Put(item, item.revision), question))
    return [Put(_binding(question, facts, contact, now, expires), seen), *puts]


def _overtaken(put: Put, question: RegisterQuestion) -> Put:
    """A phone that has started anew counts from 1 again: what it did before mustn't count for more."""
    item = put.binding
    if item.call_id != question.call_id or item.cseq < question.cseq:
        return put
    gone = {"removed": True, "cseq": question.cseq - 1, "revision": question.request}
    return Put(item.model_copy(update=gone), put.seen)


def _binding(
    question: RegisterQuestion, facts: RegisterFacts, contact: ContactField, now: float, expires: int
) -> StoredBinding:
    assert facts.account is not None
    stamp = round(now * 1000)
    return StoredBinding.of(
        question,
        contact,
        contact=contact.uri,
        push=_served(contact, facts.services),
        registered_at=stamp,
        changed_at=stamp,
        expires_at=now + expires,
        revision=question.request,
        tenant=facts.account.tenant,
    )


def _removal(
    question: RegisterQuestion, facts: RegisterFacts, names: _Names, item: StoredBinding, now: float
) -> list[Put]:
    """``item`` and every other live one of its name go; the tombstones carry this REGISTER's place in the order."""
    puts: list[Put] = []
    for other in facts.bindings:
        if names.of(other) == names.of(item) and (other is item or other.live(now)):
            put = remove(other, question.request, now)
            stamp = put.binding.changed_at
            gone = {"call_id": question.call_id, "cseq": question.cseq, "registered_at": stamp}
            puts.append(Put(put.binding.model_copy(update=gone), put.seen))
    return puts
