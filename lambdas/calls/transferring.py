"""Where does a call go that one of our accounts puts through? Where its own calls go, by the same limits."""

from __future__ import annotations

from lambdas.calls.access import lasts
from lambdas.calls.facts import CallWay, Facts
from lambdas.calls.media import MediaEnd
from lambdas.calls.request import CallRequest
from lambdas.calls.routing import outgoing, replacing
from lambdas.contract import Challenge, Decision, Reject, TransferQuestion
from lambdas.decisions.digest import bar, refuse
from lambdas.decisions.values import StoredAccount

_NO_SUCH_CALL = Reject(status=403, reason="Forbidden: not in a call of this service")
_NOT_A_PARTY = Reject(status=403, reason="Forbidden: not your call")


def transfer(question: TransferQuestion, facts: Facts) -> Decision:
    """``question.way`` proves that the call exists, and says whose phone has it; who sends the REFER from elsewhere has
    shown credentials, and is known to be a party by the call's record."""
    way = facts.way_of_call(question.way, question.way_call_id, question.way_tag)
    if way is None or not lasts(way, facts.clock()):
        return _NO_SUCH_CALL
    account = _transferor(question, way, facts)
    if not isinstance(account, StoredAccount):
        return account
    _, settings = facts.member(account.aor)
    outside = facts.provider(way.provider) if way.provider else None  # who is put through
    end = MediaEnd.of(outside, settings)
    request = CallRequest(question, account, account.aor, question.called, settings, facts.clock(), end)
    return replacing(request, facts) if question.replaces else outgoing(request, facts)


def _transferor(question: TransferQuestion, way: CallWay, facts: Facts) -> StoredAccount | Decision:
    """Whose phone it is, or why he may not."""
    credentials = question.credentials
    if credentials is not None:
        aor = f"{credentials.username}@{credentials.realm}"
        account, _ = facts.member(aor)
        refusal = refuse(credentials, "REFER", account, aor)
        call = facts.call(way.tenant, way.started, question.call)
        if refusal is None and (call is None or aor not in call.parties):
            refusal = _NOT_A_PARTY
    else:
        found = facts.binding(way.binding) if way.binding else ()
        if not found:
            return Challenge()  # his phone has registered anew, or never had
        account, _ = facts.member(found[0].aor)
        refusal = bar(account) if account is not None else _NOT_A_PARTY
    if refusal is not None or account is None:
        return refusal or _NOT_A_PARTY
    return account if account.tenant == way.tenant else _NOT_A_PARTY
