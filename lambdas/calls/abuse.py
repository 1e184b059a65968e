"""Calls to premium numbers: who makes too many of them is suspended before the next one goes out."""

from __future__ import annotations

from lambdas.calls.facts import Facts


def too_premium(aor: str, prefix: str, attempt: str, facts: Facts) -> str:
    """A call by ``aor`` to a premium number is about to be made, of that ``prefix``: why it isn't, or "". The edge's
    ``attempt`` may lead there more than once."""
    account = facts.account(aor)
    if account is None:
        return ""
    rules = facts.settings(account.tenant).rules
    if not rules.premium_calls:
        return ""
    reason = rules.burst(*facts.called_premium(aor, prefix, attempt))
    if reason and not account.suspended:
        facts.suspend(aor, reason)
    return reason
