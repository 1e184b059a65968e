"""A REGISTER: decided, written, and where another one came between, read and decided again."""

from __future__ import annotations

from lambdas.calls.facts import Facts
from lambdas.contract import Decision, RegisterQuestion, Reject
from lambdas.decisions import register
from lambdas.decisions.digest import refuse
from lambdas.decisions.values import StoredAccount, without_closed

_RACES = 8  # times that a REGISTER may be overtaken by another one of its AOR before it is told to come again


def registered(question: RegisterQuestion, facts: Facts) -> Decision:
    """What is registered afterwards, or why nothing has changed."""
    credentials = question.credentials
    account, _ = facts.member(f"{credentials.username}@{credentials.realm}")
    refusal = refuse(credentials, "REGISTER", account, question.aor)
    if refusal is not None:  # strangers don't hold up those who may
        return refusal
    with facts.turn(question.aor):
        decision = _registered(question, account, facts)
    if isinstance(decision, Reject) and account is not None:
        # Whoever it was has shown who he is.
        return decision.model_copy(update={"tenant": account.tenant})
    return decision


def _registered(question: RegisterQuestion, account: StoredAccount | None, facts: Facts) -> Decision:
    expiries = facts.expiries()
    wakes = account is not None and any(one.push is not None for one in question.contacts)
    services = facts.push_services(account.tenant) if account is not None and wakes else ()
    for tries in range(_RACES):
        bindings = without_closed(facts.bindings(question.aor), question.closed)
        known = register.RegisterFacts(account, bindings, services)
        outcome = register.decide(question, known, facts.clock(), expiries)
        if facts.write(outcome.puts):
            if account is not None and account.limits.registrations is not None and outcome.puts:
                now, bindings = facts.clock(), without_closed(facts.bindings(question.aor), question.closed)
                too_many = register.crowd(question, known, outcome.puts, bindings, now)
                if too_many:
                    facts.write(too_many)  # if it has been changed meanwhile, somebody else has seen to it
                    return Reject(status=503, retry_after=1)
            if account is not None and outcome.puts:
                facts.moved(account, known.bindings, outcome.puts)
            return outcome.decision
        facts.pause(tries)
    return Reject(status=503, retry_after=1)
