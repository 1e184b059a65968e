"""Header values that a proxy and registrar read (RFC 3261 §20 and §25)."""

from __future__ import annotations

from typing import NamedTuple

from edge.sip.errors import ParseError
from edge.sip.numbers import number_of
from edge.sip.uri import parse_hostport

_HIGHEST_CSEQ = 2**31 - 1  # §8.1.1.5


def value_of(line: str) -> str:
    """The value of a whole header ``line``."""
    return line[line.index(":") + 1 :].strip()


def storable(text: str) -> str:
    """``text`` with octets that aren't UTF-8 replaced: what is reported or asked about."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def split_list(value: str, separator: str = ",") -> list[str]:
    """Split at separators that stand neither in quotes nor in angle brackets."""
    if separator not in value:
        return [value]
    if '"' not in value and "<" not in value:
        return [part.strip() for part in value.split(separator)]
    parts: list[str] = []
    start = 0
    quoted = angled = False
    index, size = 0, len(value)
    while index < size:
        char = value[index]
        if quoted:
            if char == "\\":
                index += 1
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char == "<":
            angled = True
        elif char == ">":
            angled = False
        elif char == separator and not angled:
            parts.append(value[start:index].strip())
            start = index + 1
        index += 1
    if quoted or angled:
        raise ParseError(f"unbalanced quotes or brackets: {value[:60]!r}")
    parts.append(value[start:].strip())
    return parts


def values_of(line: str) -> list[str]:
    """A list's values; none if it can't be read."""
    try:
        return split_list(line)
    except ParseError:
        return []


def unquote_string(value: str) -> str:
    """A quoted-string without its quotes and escapes; anything else as it is."""
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    inner = value[1:-1]
    if "\\" not in inner:
        return inner
    out: list[str] = []
    chars = iter(inner)
    for char in chars:
        out.append(next(chars, "") if char == "\\" else char)
    return "".join(out)


def parse_params(text: str, separator: str = ";") -> dict[str, str]:
    """``;a=b;c="d"`` to {"a": "b", "c": "d"}: names in lower case, flags with ""; the first of two wins."""
    params: dict[str, str] = {}
    if '"' not in text:
        _unquoted(params, text, separator)
    elif "\\" in text:
        for part in split_list(text, separator):
            name, _, value = part.partition("=")
            params.setdefault(name.strip().lower(), unquote_string(value.strip()))
    else:
        # Without escapes, every second piece between quotes is a value, whatever it contains.
        pieces = text.split('"')
        if not len(pieces) % 2:
            raise ParseError(f"unbalanced quotes: {text[:60]!r}")
        for index in range(0, len(pieces) - 1, 2):
            before, _, name = pieces[index].rpartition(separator)
            if before:
                _unquoted(params, before, separator)
            params.setdefault(name.strip(" \t=").lower(), pieces[index + 1])
        _unquoted(params, pieces[-1], separator)
    params.pop("", None)
    return params


def _unquoted(params: dict[str, str], text: str, separator: str) -> None:
    for part in text.split(separator):
        if part:
            name, _, value = part.partition("=")
            params.setdefault(name.strip().lower(), value.strip())


class NameAddr(NamedTuple):
    """A From, To, Contact, Route or Record-Route value. ``uri`` and ``params`` (``;a=b``) are unparsed."""

    uri: str
    params: str

    @classmethod
    def parse(cls, value: str) -> NameAddr:
        """§20: without angle brackets, parameters belong to the header, not to the URI."""
        start = 0
        if value.startswith('"'):
            start = 1
            while start < len(value) and value[start] != '"':
                start += 2 if value[start] == "\\" else 1
            if start >= len(value):
                raise ParseError(f"an open quote in {value[:60]!r}")
        left = value.find("<", start)
        if left >= 0:
            right = value.find(">", left)
            if right < 0:
                raise ParseError(f"an open bracket in {value[:60]!r}")
            uri, params = value[left + 1 : right], value[right + 1 :]
        elif start:
            raise ParseError(f"a display name without a bracketed URI in {value[:60]!r}")
        else:
            uri, semicolon, params = value.partition(";")
            params = semicolon + params
            if "?" in uri:
                raise ParseError(f"a URI with a question mark stands in angle brackets: {value[:60]!r}")
        if params:
            params = params.strip()
            if params and not params.startswith(";"):
                raise ParseError(f"not an address: {value[:60]!r}")
        uri = uri.strip()
        if not uri:
            raise ParseError(f"not an address: {value[:60]!r}")
        return cls(uri, params)

    @property
    def tag(self) -> str:
        """The tag parameter, "" if there is none."""
        params = self.params
        if params.startswith(";tag=") and ";" not in params[5:]:
            return params[5:].strip()
        return parse_params(params).get("tag", "") if params else ""


def tag_of(value: str) -> str:
    """The tag of a From or To value, "" if there is none, or it can't be read."""
    try:
        return NameAddr.parse(value).tag
    except ParseError:
        return ""


class Via(NamedTuple):
    """One Via value (§20.42). ``port`` is 0 where none is written."""

    transport: str
    host: str
    port: int
    params: dict[str, str]

    @classmethod
    def parse(cls, value: str) -> Via:
        sent, _, params = value.partition(";")
        if "\t" in sent:
            sent = sent.replace("\t", " ")
        if sent.startswith("SIP/2.0/"):
            transport, _, sent_by = sent[8:].partition(" ")
        else:  # white space may surround the slashes, and a request that is answered 505 has another version
            protocol, _, sent_by = sent.rstrip().rpartition(" ")
            name, _, transport = "".join(protocol.split()).rpartition("/")
            if name.count("/") != 1 or name.startswith("/") or name.endswith("/"):
                raise ParseError(f"bad Via {value[:60]!r}")
        if not transport or " " in transport:
            raise ParseError(f"bad Via {value[:60]!r}")
        host, port = parse_hostport(sent_by)
        return cls(transport.lower(), host, port, parse_params(params) if params else {})

    @property
    def branch(self) -> str:
        return self.params.get("branch", "")


def parse_cseq(value: str) -> tuple[int, str]:
    """``number method`` (§20.16): the number is below 2**31."""
    text, method = [*value.split(None, 1), "", ""][:2]
    number = number_of(text, _HIGHEST_CSEQ)
    method = method.strip()
    if number is None or not method:
        raise ParseError(f"bad CSeq {value[:60]!r}")
    return number, method


def parse_digest(value: str) -> dict[str, str] | None:
    """The parameters of ``Digest a="b", …`` (RFC 8760, RFC 7616); None for another scheme."""
    if value.startswith("Digest "):
        return parse_params(value[7:], ",")
    scheme, rest = [*value.split(None, 1), "", ""][:2]
    return parse_params(rest, ",") if scheme.lower() == "digest" else None
