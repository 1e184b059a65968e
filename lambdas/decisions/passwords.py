"""Which passwords of people's own choice are taken (NIST SP 800-63B §5.1.1.2): long ones that aren't among the first
that anybody tries. A phone's isn't typed often, and whoever has seen one login can try at leisure."""

from __future__ import annotations

SHORTEST, LONGEST = 12, 128
"""Characters."""
_FEWEST = 5  # different characters
_ROWS = (
    "01234567890123456789",
    "98765432109876543210",
    "abcdefghijklmnopqrstuvwxyz",
    "zyxwvutsrqponmlkjihgfedcba",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
)
_COMMON = (
    *("password", "passwort", "passwd", "kennwort", "motdepasse", "contrasena", "welcome", "willkommen", "letmein"),
    *("changeme", "admin", "administrator", "default", "secret", "geheim", "iloveyou", "sunshine", "princess"),
    *("monkey", "dragon", "master", "football", "baseball", "superman", "batman", "trustno", "whatever", "hello"),
    *("login", "guest", "test", "temp", "root", "user", "phone", "telephone", "telefon", "voip", "sip", "asterisk"),
    *("freepbx", "freeswitch", "kamailio", "yealink", "polycom", "cisco", "snom", "grandstream", "fritzbox"),
    *("sipwizard", "extension", "company", "office", "summer", "winter", "spring", "autumn", "january", "february"),
    *("march", "april", "june", "july", "august", "september", "october", "november", "december", "monday", "friday"),
)
_LEET = str.maketrans("013457@$!", "oleastasi")


def fault(password: str, username: str, domain: str) -> str:
    """What is wrong with ``password`` for ``username`` at ``domain``, or ""."""
    if len(password) < SHORTEST:
        return f"a password has at least {SHORTEST} characters; leave it out, and a good one is made"
    lower = password.casefold()
    names = {username.casefold(), *domain.casefold().split(".")[:-1], domain.casefold()}
    if any(len(name) > 3 and (name in lower or name in lower.translate(_LEET)) for name in names):
        return "it has the user name or the domain in it, which whoever guesses knows"
    if len(set(lower)) < _FEWEST:
        return f"it has fewer than {_FEWEST} different characters"
    if any(_left(spelt) < SHORTEST // 2 for spelt in (lower, lower.translate(_LEET))):
        return "it is one of those that are tried first: made of common words, digits or rows of keys"
    return ""


def _left(text: str) -> int:
    """How many characters there are beside common words, digits at either end, rows of keys, and what is repeated."""
    for word in sorted(_COMMON, key=len, reverse=True):
        text = text.replace(word, " ")
    parts = [part.strip("0123456789 .,;:!?*#+-_@$%&/()=") for part in text.split(" ")]
    return sum(len(_without_rows(part)) for part in parts)


def _without_rows(text: str) -> str:
    """Without stretches of four and more that lie side by side, and without what has come before."""
    kept, at = "", 0
    while at < len(text):
        length = next((size for size in range(len(text) - at, 3, -1) if _is_known(text[at : at + size], kept)), 0)
        kept += "" if length else text[at]
        at += length or 1
    return kept


def _is_known(part: str, before: str) -> bool:
    return any(part in row for row in _ROWS) or part in before
