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
_LINPHONE, _LINPHONE_SINCE = "linphone", 5


def algorithms_for(setting: str, user_agent: str, configured: Sequence[str]) -> Sequence[str]:
    """``setting`` is the account's, as in a Grant; "" where nothing is known of it."""
    return permitted(_OF_SETTING.get(setting) or _of_phone(user_agent) or configured, configured)


def permitted(wanted: Sequence[str], configured: Sequence[str]) -> Sequence[str]:
    """``wanted`` without an MD5 that the edge doesn't ask for; ``configured`` if nothing is left."""
    return [name for name in wanted if name == SHA256 or name in configured] or configured


def _of_phone(user_agent: str) -> tuple[str, ...] | None:
    """Linphone from 5 on takes SHA-256 where it is the first, or alone (liblinphone 5.1.65, of Debian 12)."""
    if user_agent[: len(_LINPHONE)].lower() != _LINPHONE:
        return None
    major = user_agent.partition("/")[2].partition(".")[0]
    return _OF_SETTING["both"] if major.isdecimal() and len(major) < 4 and int(major) >= _LINPHONE_SINCE else None
