"""What a message asks to be kept from whoever isn't trusted (RFC 3323, RFC 3325 §9.3), and how it looks without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, parse_params, split_list, tag_of, value_of
from edge.sip.message import Header

ANONYMOUS = "sip:anonymous@anonymous.invalid"
"""RFC 3323 §4.1.1.3."""
ASSERTED = ("p-asserted-identity", "remote-party-id")
"""Who it is, as a network says that has asked."""
_HIDING = frozenset(("id", "user", "header"))
_NAMING = frozenset(
    (
        *ASSERTED, "p-preferred-identity", "call-info", "history-info", "in-reply-to", "organization", "referred-by",
        "reply-to", "server", "subject", "user-agent",
    )
)  # fmt: skip
"""Header fields that name the sender, lead to him, or may (RFC 3323 §4.1, §5.3; RFC 3892 §2.1, RFC 7044 §10.1)."""


def first_lines(headers: Iterable[Header]) -> dict[str, str]:
    """The first line of each of ``headers``; for Privacy all that its lines say."""
    found: dict[str, str] = {}
    for key, line in headers:
        if key not in found:
            found[key] = line
        elif key == "privacy":
            found[key] = with_more(found[key], line)
    return found


def with_more(line: str, other: str) -> str:
    """Two lines of Privacy as one: RFC 3323 §4.2 has a single one, but what either hides is to stay hidden."""
    return f"{line};{value_of(other)}"


def asked(first: Mapping[str, str]) -> frozenset[str]:
    """The priv-values of a message whose header fields begin with the lines ``first``."""
    line = first.get("privacy")
    if line is None:
        return frozenset()
    return frozenset(part.strip().lower() for part in value_of(line).replace(",", ";").split(";"))


def hides(first: Mapping[str, str]) -> bool:
    """Whether its sender isn't to be shown. Remote-Party-ID says so in a parameter of its own, which counts unless
    Privacy says something else that is known."""
    values = asked(first)
    if "none" in values:
        return False
    if not _HIDING.isdisjoint(values):
        return True
    line = first.get("remote-party-id")
    if line is None:
        return False
    try:
        privacy = parse_params(NameAddr.parse(split_list(value_of(line))[0]).params).get("privacy", "off")
    except ParseError:
        return True
    return privacy.lower() not in ("off", "no")


def is_anonymous(user: str, host: str) -> bool:
    """Whether a URI names nobody."""
    return host.endswith("anonymous.invalid") or user.lower() == "anonymous"


def withhold(headers: list[Header]) -> list[Header]:
    """``headers`` of a request without who has sent it. Diversions stay, since they are counted, without names."""
    found: list[Header] = []
    for key, line in headers:
        if key == "from":
            tag = tag_of(value_of(line))
            line = f'From: "Anonymous" <{ANONYMOUS}>' + (f";tag={tag}" if tag else "")
        elif key == "diversion":
            line = _nameless(line)
        if key not in _NAMING:
            found.append((key, line))
    return found


def unnamed(headers: list[Header]) -> list[Header]:
    """``headers`` of a response without who has answered."""
    return [header for header in headers if header[0] not in _NAMING]


def _nameless(line: str) -> str:
    """Diversion (RFC 5806 §9.1): how often and why, and not by whom."""
    values = []
    for value in _values(line):
        try:
            params = parse_params(NameAddr.parse(value).params)
        except ParseError:
            params = {}
        reason, counter = params.get("reason", "unknown"), params.get("counter", "1")
        values.append(f"<{ANONYMOUS}>;reason={reason};counter={counter};privacy=full")
    return f"Diversion: {', '.join(values)}"


def _values(line: str) -> list[str]:
    try:
        return split_list(value_of(line))
    except ParseError:
        return [""]
