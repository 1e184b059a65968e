"""Telephone numbers in URIs: ``tel:`` (RFC 3966 §3), and SIP URIs whose user part is one (RFC 3261 §19.1.1, §19.1.6).

Who reads a number for questions, records and limits reads it here, so that all of them have the same."""

from __future__ import annotations

from urllib.parse import unquote

from edge.sip.uri import Uri

_SEPARATORS = str.maketrans("", "", "-.() ")
_DIALLED = frozenset("0123456789*#")
_LONGEST_SHORT = 6
"""Digits of numbers that may be the name of an account, which may have dots and dashes in it."""


def subscriber(text: str) -> str:
    """The number that ``text`` is, an unescaped user part or what follows ``tel:``: without visual separators, and
    without parameters, none of which makes another number of it (``;npdi``, ``;rn=``, ``;cpc=``, ``;isub=``, ``;ext``).
    A local one with the ``phone-context`` of a calling code is a global one; a domain there says nothing to us. "" if
    it is no number."""
    written, _, params = text.partition(";")
    number = written.translate(_SEPARATORS)
    digits = number.removeprefix("+")
    if not digits or not _DIALLED.issuperset(digits):
        return ""
    if params and number.isdecimal():
        return _context(params) + number
    return number if len(digits) > _LONGEST_SHORT or "(" in written or " " in written else written


def _context(params: str) -> str:
    """The beginning of global numbers that ``phone-context`` names; "" if none."""
    for param in params.split(";"):
        name, _, value = param.partition("=")
        if name.lower() == "phone-context" and value.startswith("+"):
            digits = value[1:].translate(_SEPARATORS)
            return f"+{digits}" if digits.isdecimal() else ""
    return ""


def name_of(uri: Uri) -> str:
    """What the user part says, unescaped: a number in the form of ``subscriber``, or a name as it is."""
    user = unquote(uri.user) if "%" in uri.user else uri.user
    return subscriber(user) or user


def party_of(uri: Uri) -> str:
    """Who ``uri`` is, as questions and records say it: ``name@host``; of ``tel:`` the number alone."""
    return f"{name_of(uri)}@{uri.host}" if uri.host else name_of(uri)
