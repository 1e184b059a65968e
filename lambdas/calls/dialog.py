"""May a request go on in its dialog? An edge asks where it doesn't remember that the call was answered, or where its
sender is somewhere else than his side of the call."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from lambdas.calls.facts import Facts
from lambdas.contract import Decision, DialogQuestion, Proceed, Reject
from lambdas.decisions.digest import refuse
from lambdas.decisions.provider import StoredProvider

_UNANSWERED = frozenset(("BYE", "PRACK", "UPDATE", "INFO"))
"""What may come before the answer: it ends or adjusts what is under way."""
_RINGING = 300  # seconds after which a call that may still be unanswered isn't any more
_OVER = Reject(status=481)
_NOT_A_PARTY = Reject(status=403, reason="Forbidden: not your call")


def in_dialog(question: DialogQuestion, facts: Facts) -> Decision:
    """``Proceed``, or what to answer. A call of which nothing is known may have been answered just now, and its report
    be under way: its sender is asked to try again, and no phone hears of it before."""
    party = ""
    if question.credentials is not None:
        credentials = question.credentials
        party = f"{credentials.username}@{credentials.realm}"
        account, _ = facts.member(party)
        refusal = refuse(credentials, question.method, account, party)
        if refusal is not None:
            return refusal
    if question.provider and not _is_at(facts.provider(question.provider), question.flow[3]):
        return Reject(status=403, reason="Forbidden: not one of the provider's addresses; see its sources")
    if not question.tenant:
        return Proceed()
    call = facts.call(question.tenant, question.started, question.call)
    if call is not None and party and party not in call.parties:
        return _NOT_A_PARTY
    if call is not None and question.called:
        called = facts.binding(question.called)
        if called and call.parties.isdisjoint(item.aor for item in called):
            call = None  # another one of the same name
    late = facts.clock() - question.started > _RINGING
    if (
        question.provider
        or question.method == "BYE"
        or (question.method in _UNANSWERED and not (late and call is None))
    ):
        return Proceed()
    if call is None and facts.refused(question.tenant, question.started, question.call_id):
        return _OVER
    if call is None:
        return Reject(status=491) if question.method == "INVITE" else Reject(status=500, retry_after=2)
    return _OVER if call.over else Proceed()


def _is_at(provider: StoredProvider | None, source: str) -> bool:
    """Whether requests of ``provider`` may come from there, as far as it says itself."""
    if provider is None or not provider.enabled:
        return False
    networks = [*provider.sources]
    if provider.host.replace(".", "").isdecimal():
        networks.append(provider.host)
    return any(ip_address(source) in ip_network(network) for network in networks)
