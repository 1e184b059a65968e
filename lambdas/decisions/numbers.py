"""Telephone numbers: what a caller has dialled means in the tenant's country, and how a provider wants it written.

What limits and rates go by is what leaves: both are made of the number that was read, never of what was dialled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import phonenumbers
from phonenumbers import (
    CountryCodeSource,
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
_FREEPHONE = 800
"""The calling code of international freephone numbers (ITU-T E.169.1): the called one pays."""
_MEXICO, _MEXICAN_LENGTH = 52, 10


@dataclass(frozen=True, slots=True)
class Number:
    """``e164`` with its plus; "" where the number has no such form, and is then what was ``dialled``, without
    separators and codes. ``national`` is how it is dialled in the tenant's country ("": nobody knows).

    ``clear``: it can be told where it leads. ``hidden``: the caller's number isn't to be shown; ``shown``: it is,
    whatever the phone asks. ``premium``: it costs more than a call to a telephone there. ``international``: it is in
    another country or territory, or the tenant's isn't known. ``unassigned``: the world's plan has room for it, but
    isn't known to give it to anybody, so nobody can tell what it costs. ``refused`` says why nobody may dial so,
    whatever limits there are ("" if they may)."""

    dialled: str
    e164: str = ""
    national: str = ""
    emergency: bool = False
    clear: bool = False
    hidden: bool = False
    shown: bool = False
    premium: bool = False
    international: bool = False
    unassigned: bool = False
    refused: str = ""

    @property
    def judged(self) -> str:
        """What limits, rates and records go by, and what leaves in one form or another."""
        return self.e164 or self.dialled


@lru_cache(4096)
def read(user: str, country: str) -> Number | None:
    """The number that the user part of a URI stands for; None if it isn't one. ``country`` is an ISO 3166 code, or
    empty."""
    found = _read(user, country)
    return replace(found, national=_national(found, country)) if found is not None else None


def write(number: Number, form: NumberFormat) -> str:
    """``number`` as a provider wants it: the same number in each form. What has no E.164 form is what it is."""
    if form == "digits" and number.e164:
        return number.e164[1:]
    if form == "national" or (form == "dialled" and not number.international):
        return number.national or number.judged
    return number.judged


def _read(user: str, country: str) -> Number | None:
    """As nobody has said yet how it is dialled in ``country``."""
    text = user.partition(";")[0].translate(_SEPARATORS)
    _, meaning, rest = strip(text, country)
    if meaning == "carrier":
        rest = text  # perhaps it isn't one
    digits = rest.removeprefix("+")
    if not digits or not _DIALLED.issuperset(digits) or len(digits) > _LONGEST:
        return None
    found = _without_code(rest, country)
    return replace(found, hidden=meaning == "hide" and not found.emergency, shown=meaning == "show")


def _without_code(text: str, country: str) -> Number:
    digits = text.removeprefix("+")
    if _is_emergency(digits, country):
        return Number(digits, emergency=True, clear=True)
    if text.startswith("+0"):
        return Number(text, refused="no number begins with +0")
    parsed = _parsed(text, country)
    if parsed is not None and phonenumbers.is_valid_number(parsed):
        return _of_the_world(text, parsed, country)
    help_ = _help_behind_prefix(text, country)
    if help_ is not None:
        return help_
    code, meaning, _ = strip(text, country)
    if meaning is not None:
        reason = "chooses a carrier; dial without it" if meaning == "carrier" else "is one code too many"
        return Number(text, refused=f"{code} {reason}")
    short = _short(text, country)
    if parsed is None or short.clear:
        return short
    # Possible in a part of the country only, not of this length, or with zeros and codes that the next reader takes
    # away: nobody can tell what becomes of it.
    possible = phonenumbers.is_possible_number_with_reason(parsed) == ValidationResult.IS_POSSIBLE
    again = _parsed(_e164(parsed), "")
    unchanged = again is not None and _e164(again) == _e164(parsed)
    return _of_the_world(text, parsed, country) if possible and unchanged else short


def _parsed(text: str, country: str) -> PhoneNumber | None:
    if not text.removeprefix("+").isdecimal():
        return None  # what a code that isn't known makes of it nobody can tell
    try:
        parsed = phonenumbers.parse(text, country or None)
    except NumberParseException:
        return None
    national = str(parsed.national_number)
    if parsed.country_code == _MEXICO and len(national) == _MEXICAN_LENGTH + 1 and national.startswith("1"):
        return PhoneNumber(_MEXICO, int(national[1:]))  # a mobile as it was written up to 2019
    return parsed


def _is_emergency(digits: str, country: str) -> bool:
    """Exactly: what goes on after such a number is another one."""
    if digits == "112" or not country:
        return digits in _EMERGENCY
    return digits.isdecimal() and shortnumberinfo.is_emergency_number(digits, country)


def _help_behind_prefix(text: str, country: str) -> Number | None:
    """An emergency number behind a calling code (``tel:999;phone-context=+44``), or what is dialled before one: whoever
    takes that away would hear a call for help, so it is one, or isn't made at all. None if it is no such thing."""
    try:
        parsed = phonenumbers.parse(text, country or None, keep_raw_input=True)
    except NumberParseException:
        return None
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(parsed.country_code or 0, ())
    at_home = country in regions
    named = parsed.country_code_source != CountryCodeSource.FROM_DEFAULT_COUNTRY
    digits = phonenumbers.national_significant_number(parsed)
    for number in (digits, digits.removeprefix("0")):
        if number == text or not any(_is_emergency(number, one) for one in ((country,) if at_home else (*regions, ""))):
            continue
        if named and at_home:
            return Number(number, emergency=True, clear=True)
        return Number(text, refused=f"{number} is for emergencies; dial it alone")
    return None


def _of_the_world(text: str, parsed: PhoneNumber, country: str) -> Number:
    known = _known(parsed)
    code = parsed.country_code or 0
    costly = code in _NOWHERE or phonenumbers.number_type(known) in _COSTLY
    unassigned = not phonenumbers.is_valid_number(known)
    if unassigned:
        # Some exchanges take what follows the country's code for one of its short numbers.
        at_home = country and code == phonenumbers.country_code_for_region(country)
        region = country if at_home else phonenumbers.region_code_for_country_code(code)
        costly = costly or _costs_more(phonenumbers.national_significant_number(parsed), region)
    return Number(
        text,
        e164=_e164(parsed),
        clear=True,
        premium=costly,
        international=not _domestic(known, country),
        unassigned=unassigned,
    )


def _short(text: str, country: str) -> Number:
    """A number of the country's own that isn't part of the world's plan, or of a provider."""
    if not country or not text.isdecimal() or len(text) > _LONGEST_SHORT:
        return Number(text)
    return Number(text, clear=True, premium=_costs_more(text, country))


def _costs_more(text: str, country: str) -> bool:
    """Whether ``text`` is a short number in ``country`` that costs more than a call to a telephone."""
    code = phonenumbers.country_code_for_region(country)
    number = PhoneNumber(country_code=code, national_number=int(text), italian_leading_zero=text.startswith("0"))
    costly = shortnumberinfo.expected_cost_for_region(number, country) == ShortNumberCost.PREMIUM_RATE
    return costly or text.startswith(_DIRECTORIES)


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
    cost what calls abroad do. A freephone number of no country is at home everywhere."""
    if known.country_code == _FREEPHONE:
        return True
    if not country or known.country_code != phonenumbers.country_code_for_region(country):
        return False
    region = phonenumbers.region_code_for_number(known)
    main = phonenumbers.region_code_for_country_code(known.country_code)
    return region in (None, country, main) or phonenumbers.is_valid_number_for_region(known, country)


def _national(number: Number, country: str) -> str:
    """As it is dialled in ``country``, where that is read as the same number again, at the same cost; else "". What
    is no longer than short numbers are, or is a costly one, may be that to whoever reads it next."""
    parsed = _parsed(number.e164, "") if country and number.e164 else None
    if parsed is None:
        return ""
    if parsed.country_code == phonenumbers.country_code_for_region(country):
        written = phonenumbers.format_number(parsed, PhoneNumberFormat.NATIONAL)
    else:
        written = phonenumbers.format_out_of_country_calling_number(parsed, country)
    text = "".join(char for char in written if char.isdecimal())
    if len(text) <= _LONGEST_SHORT or _costs_more(text, country) or strip(text, country)[1] is not None:
        return ""
    if shortnumberinfo.connects_to_emergency_number(text, country):
        return ""  # it begins like one, and some exchanges listen no further
    return text if _read(text, country) == replace(number, dialled=text, hidden=False, shown=False) else ""


def _e164(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)
