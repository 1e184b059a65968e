"""The numbers of a provider account: what its calls may name instead of the Contact that was registered, if there is
one."""

from __future__ import annotations

from collections.abc import Iterable

from lambdas.contract import called_number
from lambdas.decisions.numbers import read, write


def in_its_form(text: str, country: str) -> str:
    """A number in its E.164 form, as ``country`` (ISO 3166, or "") says; what isn't one of the world's as it is."""
    number = read(text, country)
    return number.e164 if number is not None and number.e164 else text


def spellings(numbers: Iterable[str], country: str) -> list[str]:
    """How calls may name them: with the country's code, or as they are dialled in ``country``."""
    found: dict[str, None] = {}
    for text in numbers:
        number = read(text, country)
        forms = [text] if number is None else [text, number.e164, write(number, "national")]
        found.update((called_number(form), None) for form in forms if form)
    return list(found)
