"""Which numbers may be called through providers: by kind, by prefix, and if it can be told where they lead."""

from __future__ import annotations

from lambdas.decisions.limits import CallLimits, longest
from lambdas.decisions.numbers import Number
from lambdas.decisions.provider import TenantSettings

_NAMED = 6
"""Characters of a prefix that names a range of numbers rather than a country: the plus, at most three digits of a
calling code, two of the number."""


def refusal(number: Number, settings: TenantSettings, payer: CallLimits) -> str:
    """Why ``number`` may not be called by a tenant with ``settings`` at the cost of an account with the limits of
    ``payer``; "" if it may."""
    if number.emergency:
        return ""
    limits = (settings.limits, payer)
    if not number.clear:
        named = any(number.judged in (one.allowed_prefixes or ()) for one in limits)
        if _any_rule(settings, limits) and not named:
            missing = "" if settings.country else " as long as the tenant has no country"
            return f"calls to {number.judged} are not allowed: nobody can tell where they lead{missing}"
    elif _premium(number, settings) and not settings.premium:
        return "premium calls are not allowed for this tenant (premium)"
    elif number.international and not settings.international:
        missing = "" if settings.country else "; it has no country"
        return f"international calls are not allowed for this tenant (international){missing}"
    elif number.unassigned and not (settings.premium and settings.international) and not _names(limits, number):
        return f"calls to {number.judged} are not allowed: nobody is known to have it; allowed_prefixes may name it"
    allowed = all(one.permits(number.judged) and not _blocks_as_dialled(one, number) for one in limits)
    return "" if allowed else f"calls to {number.judged} are not allowed"


def dark(number: Number, settings: TenantSettings) -> bool:
    """Whether ``number`` may be called while no decision can be had."""
    if number.emergency or settings.costly_without_control_plane:
        return True
    cheap = number.clear and not number.unassigned
    return cheap and not number.international and not _premium(number, settings)


def _names(limits: tuple[CallLimits, ...], number: Number) -> bool:
    """Whether a prefix allows ``number`` for its own sake: one of more than a country's calling code."""
    return any(longest(one.allowed_prefixes or (), number.e164) >= _NAMED for one in limits)


def _blocks_as_dialled(limits: CallLimits, number: Number) -> bool:
    """By a prefix like 0909 or 900, which whoever set it took for that of a number in the country."""
    return any(one[:1].isdecimal() and number.national.startswith(one) for one in limits.blocked_prefixes or ())


def _premium(number: Number, settings: TenantSettings) -> bool:
    return number.premium or bool(settings.rules.premium(number.judged))


def _any_rule(settings: TenantSettings, limits: tuple[CallLimits, ...]) -> bool:
    """Whether it matters which number is called."""
    if not (settings.premium and settings.international):
        return True
    return bool(settings.rates or settings.rules.premium_prefixes) or any(one.chooses for one in limits)
