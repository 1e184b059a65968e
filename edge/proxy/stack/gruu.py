"""GRUUs (RFC 5627): URIs of ours that lead to one instance of an account, from everywhere, and not to the account.

Theory of operation. A public GRUU is the AOR with the instance beside it (appendix A.1), so whoever knows it knows the
account. A temporary one says nothing to anybody but the fleet: user, instance and the REGISTER's Call-ID are sealed
into it, as flow tokens are, with the domain as associated data, and with the time, so that each one is new. No edge
remembers any. It is good for as long as its instance is registered by that Call-ID (§3.1.2.2): a phone that wants to be
found by none of its old ones registers with another. And for as long as its key verifies, a week at least; every
refresh brings another one.

Instance and Call-ID stand for themselves in GRUUs and questions by short names (``short_name``).
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from urllib.parse import quote, unquote

from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.flow_token import BadToken, TokenKeys
from edge.sip import base64url
from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, split_list, value_of
from edge.sip.incoming import Fault
from edge.sip.telephone import name_of
from edge.sip.uri import Uri, escaped
from lambdas.contract import short_name, way_sealed_for

_KIND = "t."
_SEALED = struct.Struct("!8s8sI")  # the names of instance and Call-ID, and when it was made
_BLOCK = 16  # octets: how long somebody's name is, a temporary GRUU tells in steps of this
_LONGEST = 600  # characters of a user part
_PARAM = "[]/:&+$-_.!~*'()"  # beside letters and digits, in a URI parameter (RFC 3261 §25.1)


class Gruu(NamedTuple):
    """``instance`` and ``registration`` are short names of an instance (RFC 5626 §4.1) of ``aor``, and of the Call-ID
    of its REGISTERs; the latter is "" for a public one."""

    uri: str
    aor: str
    instance: str
    registration: str

    def means(self, instance: str, call_id: str) -> bool:
        """Whether it leads to that instance of its AOR, registered by this Call-ID."""
        if not instance or short_name(instance.lower()) != self.instance:
            return False
        return not self.registration or short_name(call_id) == self.registration


def public_gruu(scheme: str, aor: str, instance: str) -> str:
    user, _, domain = aor.rpartition("@")
    return f"{scheme}:{escaped(user)}@{domain};gr={quote(instance, safe=_PARAM)}"


def temporary_gruu(scheme: str, aor: str, instance: str, call_id: str, keys: TokenKeys, wall: float) -> str:
    """``wall``: Unix time."""
    user, _, domain = aor.rpartition("@")
    names = (base64url.decode(short_name(text)) for text in (instance.lower(), call_id))
    plain = _SEALED.pack(*names, int(wall)) + user.encode()
    plain += bytes(-len(plain) % _BLOCK)
    return f"{scheme}:{_KIND}{base64url.encode(keys.seal_data(plain, _associated(domain)))}@{domain};gr"


def gruu_of(uri: Uri, text: str, fleet: Fleet) -> Gruu | None:
    """What ``uri`` is, which is written ``text``; None if it is no GRUU of ours. Raises Fault 404 for one that nobody
    here has made."""
    if not uri.params or not uri.user:
        return None
    instance = uri.param("gr")
    domain = fleet.canonical(uri.host) if instance is not None else None
    if instance is None or domain is None:
        return None
    if instance:
        return Gruu(text, f"{name_of(uri)}@{domain}", short_name(unquote(instance).lower()), "")
    try:
        if not uri.user.startswith(_KIND) or len(uri.user) > _LONGEST:
            raise BadToken("not one of ours")
        plain = fleet.tokens.open_data(base64url.decode(uri.user[len(_KIND) :]), _associated(domain))
        mine, registration, _ = _SEALED.unpack_from(plain)
        user = plain[_SEALED.size :].rstrip(b"\0").decode()
    except ValueError as error:
        raise Fault(404, "Not Found: this GRUU is not valid any more") from error
    return Gruu(text, f"{user}@{domain}", base64url.encode(mine), base64url.encode(registration))


def gruu_in_contact(line: str, fleet: Fleet) -> Gruu | None:
    """The GRUU that a Contact ``line`` has for its URI; None if it isn't one of ours."""
    if ";gr" not in line.lower():
        return None
    try:
        text = NameAddr.parse(split_list(value_of(line))[0]).uri
        return gruu_of(Uri.parse(text), text, fleet)
    except (ParseError, Fault):
        return None


def _associated(domain: str) -> bytes:
    return way_sealed_for(_KIND, domain)
