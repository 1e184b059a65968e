"""Which algorithms a phone is asked to answer by (RFC 8760), one challenge for each, in this order.

Theory of operation. RFC 8760 §2.4 has a phone take the first challenge whose algorithm it knows. Phones don't all do
so: some answer the last one, some none if one of them is new to them. So what the edge's configuration says is asked
for, MD5 alone by default, unless somebody knows better: the account's own setting, which its grant brings, or the
User-Agent of a phone that has been seen to do it right. Whoever lies about that gains nothing: accounts have hashes for
both. Where the configuration leaves MD5 out, nobody is asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence

MD5, SHA256 = "MD5", "SHA-256"
_OF_SETTING = {"md5": (MD5,), "sha256": (SHA256,), "both": (SHA256, MD5)}
_LINPHONE_SINCE = 5


class Algorithms:
    """What an edge asks for that is ``configured`` so."""

    def __init__(self, configured: Sequence[str]) -> None:
        self._of_setting = {name: permitted(wanted, configured) for name, wanted in _OF_SETTING.items()}
        self._usual = configured

    def asked_for(self, setting: str, user_agent: str) -> Sequence[str]:
        """``setting`` is the account's, as in a Grant, "" where nothing is known of it; ``user_agent`` a User-Agent
        line, or ""."""
        if setting:
            return self._of_setting.get(setting, self._usual)
        if user_agent and _is_linphone(user_agent):
            return self._of_setting["both"]
        return self._usual


def permitted(wanted: Sequence[str], configured: Sequence[str]) -> Sequence[str]:
    """``wanted`` without an MD5 that the edge doesn't ask for; ``configured`` if nothing is left."""
    return [name for name in wanted if name == SHA256 or name in configured] or configured


def _is_linphone(line: str) -> bool:
    """Linphone from 5 on takes SHA-256 where it is the first, or alone (liblinphone 5.1.65, of Debian 12)."""
    name, _, version = line.partition(":")[2].lstrip().partition("/")
    major = version.partition(".")[0]
    return name[:8].lower() == "linphone" and major.isdecimal() and len(major) < 4 and int(major) >= _LINPHONE_SINCE
