"""Codes that are dialled before a number and are no part of it: who may see the caller's own number, and which carrier
is to take the call.

A code that isn't known here makes what follows it unreadable. Those of each country come from its numbering plan, or
from what its largest carrier tells its customers where the plan leaves them to carriers.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

from phonenumbers import country_code_for_region

Meaning = Literal["hide", "show", "carrier"]
"""The caller's number isn't to be shown, or is; the call isn't to go by the usual carrier."""

_EVERYWHERE: dict[str, Meaning] = {
    r"#31#": "hide",  # 3GPP TS 22.030 annex B: CLIR invoked for one call
    r"\*31#": "show",  # CLIR suppressed for one call
}
_NORTH_AMERICA: dict[str, Meaning] = {
    # FCC, 47 CFR 64.1601(b): *67, and 1167 on dial telephones; *82 and 1182 undo a line's blocking.
    r"\*67|1167": "hide",
    r"\*82|1182": "show",
    r"101\d{4}": "carrier",  # NANPA: carrier access codes
}
_COUNTRIES: dict[str, dict[str, Meaning]] = {
    "GB": {
        # Ofcom, National Telephone Numbering Plan, type B access codes. Codes are dialled before the 0 of a number,
        # before + or before an emergency number: 0141 and 01470 are areas, too.
        r"141(?=[0+]|999$|112$)": "hide",
        r"1470(?=[0+]|999$|112$)": "show",
        r"1(?:2[4-9]|3|5|6|8)\d{1,3}?(?=[0+])": "carrier",  # indirect access: 1280, 1601, 18866
    },
    "DE": {
        # BNetzA, Nummernplan: 010xy and 0100yy; what the Telekom tells users of its lines: *31# hides there.
        r"\*31#": "hide",
        r"010": "carrier",
    },
    "FR": {
        # ARCEP, plan national de numérotation: 3651 (secret d'appel), 16XY (sélection du transporteur).
        r"3651(?=[0+]|112$|1[578]$)": "hide",
        r"16\d\d(?=[0+])": "carrier",
    },
    "IT": {
        r"\*67#": "hide",  # TIM, lines
        r"10\d\d(?=\d{4})": "carrier",  # AGCOM, piano di numerazione nazionale, 10XY(Z)
    },
    "ES": {
        r"067": "hide",  # Telefónica, lines; no number begins with 0
        r"10\d\d(?=\d{4})": "carrier",  # CNMC: selección de operador, 10xy(z)
    },
    "AU": {
        # ACMA, Telecommunications Numbering Plan: 1831, 1832; override codes 14xx.
        r"1831": "hide",
        r"1832": "show",
        r"14\d\d(?=\d)": "carrier",
    },
    # Anatel: the carrier's two digits after 0 or 00 are part of how numbers are dialled; the numbers' own reader takes
    # them away, and the provider is the carrier.
    "BR": {r"\*67": "hide"},
}
_NORTH_AMERICAS_CODE = 1


def strip(text: str, country: str) -> tuple[str, Meaning | None, str]:
    """What ``text`` begins with if that is a code, what it means, and the rest."""
    for pattern, meaning in _codes(country):
        found = pattern.match(text)
        if found and found.end() < len(text):
            return found.group(), meaning, text[found.end() :]
    return "", None, text


@cache
def _codes(country: str) -> tuple[tuple[re.Pattern[str], Meaning], ...]:
    """A country's own come first."""
    own = _NORTH_AMERICA if country_code_for_region(country) == _NORTH_AMERICAS_CODE else _COUNTRIES.get(country, {})
    return tuple((re.compile(pattern), meaning) for pattern, meaning in {**_EVERYWHERE, **own}.items())
