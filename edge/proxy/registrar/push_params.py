"""What a Contact says of how its phone is woken when it sleeps (RFC 8599 §8.7)."""

from __future__ import annotations

from urllib.parse import unquote

from edge.sip.incoming import Fault
from edge.sip.uri import Uri
from lambdas.contract import Push

LONGEST = 1024
"""Octets of all these parameters together; those of a Web Push subscription have some 400."""
_LONGEST_PROVIDER, _LONGEST_PARAM = 40, 300


def push_of(uri: Uri) -> Push | None:
    """None for a Contact that says nothing of it. Raises Fault 400."""
    provider = uri.param("pn-provider")
    if provider is None:
        return None
    prid, param = unquote(uri.param("pn-prid") or ""), unquote(uri.param("pn-param") or "")
    if len(provider) > _LONGEST_PROVIDER or len(prid) > LONGEST or len(param) > _LONGEST_PARAM:
        raise Fault(400, "Bad Request: a pn- parameter that is too long")
    if not (provider + prid + param).isprintable():
        raise Fault(400, "Bad Request: a pn- parameter with characters that can't be read")
    return Push(provider=provider.lower(), prid=prid, param=param)


def same_phone(one: Push | None, other: Push | None) -> bool:
    """Whether both are woken by the same push, so that they are one, wherever they are."""
    if one is None or other is None or not one.prid:
        return False
    return (one.provider, one.prid, one.param) == (other.provider, other.prid, other.param)
