"""Telephone numbers: what a caller has dialled means in the tenant's country, and how a provider wants it written.

What limits and rates go by is what leaves: both are made of the number that was read, never of what was dialled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import phonenumbers
from phonenumbers import (
    NumberParseException,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
    ShortNumberCost,
    ValidationResult,
    shortnumberinfo,
)

from lambdas.decisions.provider import NumberFormat
from lambdas.decisions.service_codes import strip

_SEPARATORS = str.maketrans("", "", "-.() ")
_DIALLED = frozenset("0123456789*#")
_LONGEST = 32
_LONGEST_SHORT = 6
"""Digits of numbers that aren't part of the world's plan: announcements, mailboxes, a provider's own services."""
_EMERGENCY = frozenset(("112", "911", "999"))  # where the tenant has set no country; 112 everywhere
_DIRECTORIES = "118"  # enquiries in most of Europe, at whatever they like to charge
_COSTLY = frozenset((PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST, PhoneNumberType.PERSONAL_NUMBER))
_NOWHERE = frozenset((870, 878, 881, 882, 883, 888, 979))
"""Calling codes that are no country's (ITU-T E.164, list of assigned codes): satellites, networks, premium rate."""


@dataclass(frozen=True, slots=True)
class Number:
    """``e164`` with its plus; "" where the number has no such form, and is then what was ``dialled``, without
    separators and codes. ``national`` is how it is dialled in the tenant's country ("": nobody knows).

    ``clear``: it can be told where it leads. ``hidden``: the caller's number isn't to be shown. ``premium``: it costs
    more than a call to a telephone there. ``international``: it is in another country or territory, or the tenant's
    isn't known. ``refused`` says why nobody may dial so, whatever limits there are ("" if they may)."""

    dialled: str
    e164: str = ""
    national: str = ""
    emergency: bool = False
    clear: bool = False
    hidden: bool = False
    premium: bool = False
    international: bool = False
    refused: str = ""

    @property
    def judged(self) -> str:
        """What limits, rates and records go by, and what leaves in one form or another."""
        return self.e164 or self.dialled


@lru_cache(4096)
def read(user: str, country: str) -> Number | None:
    """The number that the user part of a URI stands for; None if it isn't one. ``country`` is an ISO 3166 code, or
    empty."""
    text = user.partition(";")[0].translate(_SEPARATORS)
    _, meaning, rest = strip(text, country)
    if meaning == "carrier":
        rest = text  # perhaps it isn't one
    digits = rest.removeprefix("+")
    if not digits or not _DIALLED.issuperset(digits) or len(digits) > _LONGEST:
        return None
    found = _without_code(rest, country)
    return replace(found, hidden=meaning == "hide" and not found.emergency)


def write(number: Number, form: NumberFormat) -> str:
    """``number`` as a provider wants it: the same number in each form. What has no E.164 form is what it is."""
    if form == "digits" and number.e164:
        return number.e164[1:]
    if form == "national" or (form == "dialled" and not number.international):
        return number.national or number.judged
    return number.judged


def _without_code(text: str, country: str) -> Number:
    digits = text.removeprefix("+")
    if _is_emergency(digits, country):
        return Number(digits, emergency=True, clear=True)
    if text.startswith("+0"):
        return Number(text, refused="no number begins with +0")
    parsed = _parsed(text, country)
    if parsed is not None and phonenumbers.is_valid_number(parsed):
        return _of_the_world(text, parsed, country)
    code, meaning, _ = strip(text, country)
    if meaning is not None:
        reason = "chooses a carrier; dial without it" if meaning == "carrier" else "is one code too many"
        return Number(text, refused=f"{code} {reason}")
    short = _short(text, country)
    if parsed is None:
        return short
    if short.clear and shortnumberinfo.is_valid_short_number_for_region(parsed, country):
        return short
    # Possible in a part of the country only, not of this length, or with zeros and codes that the next reader takes
    # away: nobody can tell what becomes of it.
    possible = phonenumbers.is_possible_number_with_reason(parsed) == ValidationResult.IS_POSSIBLE
    return _of_the_world(text, parsed, country) if possible and _is(_e164(parsed), "", parsed) else short


def _parsed(text: str, country: str) -> PhoneNumber | None:
    if not text.removeprefix("+").isdecimal():
        return None  # what a code that isn't known makes of it nobody can tell
    try:
        return phonenumbers.parse(text, country or None)
    except NumberParseException:
        return None


def _is_emergency(digits: str, country: str) -> bool:
    """Exactly: what goes on after such a number is another one."""
    if digits == "112" or not country:
        return digits in _EMERGENCY
    return digits.isdecimal() and shortnumberinfo.is_emergency_number(digits, country)


def _of_the_world(text: str, parsed: PhoneNumber, country: str) -> Number:
    known = _known(parsed)
    return Number(
        text,
        e164=_e164(parsed),
        national=_national(parsed, country),
        clear=True,
        premium=parsed.country_code in _NOWHERE or phonenumbers.number_type(known) in _COSTLY,
        international=not _domestic(known, country),
    )


def _short(text: str, country: str) -> Number:
    """A number of the country's own that isn't part of the world's plan, or of a provider."""
    if not country or not text.isdecimal() or len(text) > _LONGEST_SHORT:
        return Number(text)
    code = phonenumbers.country_code_for_region(country)
    number = PhoneNumber(country_code=code, national_number=int(text), italian_leading_zero=text.startswith("0"))
    costly = shortnumberinfo.expected_cost_for_region(number, country) == ShortNumberCost.PREMIUM_RATE
    return Number(text, clear=True, premium=costly or text.startswith(_DIRECTORIES))


def _known(parsed: PhoneNumber) -> PhoneNumber:
    """The longest beginning that is somebody's number: exchanges pay no heed to what is dialled after it."""
    e164 = _e164(parsed)
    for length in range(len(e164), len(e164) // 2, -1):
        found = _parsed(e164[:length], "")
        if found is not None and phonenumbers.is_valid_number(found):
            return found
    return parsed


def _domestic(known: PhoneNumber, country: str) -> bool:
    """In the tenant's country, or the main one of its calling code: calls to its other territories (+1 876, +44 1534)
    cost what calls abroad do."""
    if not country or known.country_code != phonenumbers.country_code_for_region(country):
        return False
    region = phonenumbers.region_code_for_number(known)
    main = phonenumbers.region_code_for_country_code(known.country_code)
    return region in (None, country, main) or phonenumbers.is_valid_number_for_region(known, country)


def _national(parsed: PhoneNumber, country: str) -> str:
    """As it is dialled in ``country``, where that is read as the same number again; else ""."""
    if not country:
        return ""
    if parsed.country_code == phonenumbers.country_code_for_region(country):
        written = phonenumbers.format_number(parsed, PhoneNumberFormat.NATIONAL)
    else:
        written = phonenumbers.format_out_of_country_calling_number(parsed, country)
    text = "".join(char for char in written if char.isdecimal())
    if _is_emergency(text, country) or strip(text, country)[1] is not None:
        return ""
    return text if _is(text, country, parsed) else ""


def _is(text: str, country: str, number: PhoneNumber) -> bool:
    """Whether ``text`` is read as ``number``."""
    again = _parsed(text, country)
    return again is not None and _e164(again) == _e164(number)


def _e164(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)
