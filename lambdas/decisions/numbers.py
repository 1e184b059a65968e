"""Telephone numbers: what a caller has dialled means in the tenant's country, and how a provider wants it written."""

from __future__ import annotations

from dataclasses import dataclass

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, shortnumberinfo

from lambdas.decisions.provider import NumberFormat

_SEPARATORS = str.maketrans("", "", "-.() ")
_DIALLED = frozenset("0123456789*#")
LONGEST_SHORT = 6
"""Digits of numbers that aren't part of the world's plan: announcements, mailboxes, a provider's own services."""
_EMERGENCY = frozenset(("112", "911", "999"))  # where the tenant has set no country; 112 everywhere


@dataclass(frozen=True, slots=True)
class Number:
    """``dialled`` without separators; ``e164`` with its plus, "" where the number has no such form. ``charged`` is what
    limits and rates go by: where providers may take what was dialled for a number, that number in its E.164 form, of
    whatever length and whatever code stands before it; else as it was dialled."""

    dialled: str
    e164: str
    emergency: bool
    charged: str = ""


def read(user: str, country: str) -> Number | None:
    """The number that the user part of a URI stands for; None if it isn't one. ``country`` is an ISO 3166 code, or
    empty."""
    text = user.partition(";")[0].translate(_SEPARATORS)
    digits = text.removeprefix("+")
    if not digits or not _DIALLED.issuperset(digits) or len(digits) > 32:
        return None
    # With a plus, or behind a code like *31#, it is one all the same.
    plain = digits.replace("#", "*").rpartition("*")[2]
    code = digits[: len(digits) - len(plain)]
    if plain == "112" or (shortnumberinfo.is_emergency_number(plain, country) if country else plain in _EMERGENCY):
        return Number(plain, "", True, plain)
    try:
        parsed = phonenumbers.parse(plain if code else text, country or None)
    except NumberParseException:
        return Number(text, "", False, text)
    possible = phonenumbers.is_possible_number(parsed)
    written = phonenumbers.format_number(parsed, PhoneNumberFormat.E164)
    e164 = written if possible and not code else ""
    emergency = bool(country) and not e164 and shortnumberinfo.connects_to_emergency_number(text, country)
    # Surplus digits are no hindrance to most providers; a short number is one of its own; what begins with more zeros
    # than any number leads nobody knows where.
    readable = possible or (len(plain) > LONGEST_SHORT and not parsed.italian_leading_zero)
    return Number(text, e164, emergency, written if readable else text)


def write(number: Number, form: NumberFormat) -> str:
    """``number`` as a provider wants it. What has no E.164 form goes out as it was dialled."""
    if not number.e164 or form == "dialled":
        return number.dialled
    if form == "e164":
        return number.e164
    if form == "digits":
        return number.e164[1:]
    national = phonenumbers.format_number(phonenumbers.parse(number.e164), PhoneNumberFormat.NATIONAL)
    return "".join(char for char in national if char.isdecimal())
