"""What tells bindings of an AOR apart.

A Contact with instance and reg-id is known by those (RFC 5626 §6). Any other is known by its URI (RFC 3261 §10.3,
§19.1.4) and, where its host isn't the address that it comes from, by that address as well: phones at two homes have the
same private Contact, and neither may take the other's place. Behind a proxy that is what its Path says. A phone whose
address changes keeps its Call-ID: by that it is known again, and its binding keeps the key that it has, since dialogs
name it by that.

A phone that can be woken is known by its instance alone, or by its URI without what wakes it (RFC 8599): that changes,
and so does where it is each time that it has been woken. Where a push goes to the same phone it is known again, too.

Edges up to version 7 of the contract looked at no parameter but transport, and at no address. While there are any, or
an upgrade may still be undone, keys are made as they make them; bindings of then keep those, too.
"""

from __future__ import annotations

import hashlib
from urllib.parse import unquote

from edge.proxy.location.bindings import ContactParams
from edge.sip.comparison import comparable
from edge.sip.uri import Uri
from lambdas.contract import without_push

_LONGEST = 512  # characters that are kept as they are: the table's keys have an end


def binding_key(contact: str, params: ContactParams, host: str, path: tuple[str, ...], woken: bool = False) -> str:
    """Of a Contact URI that is registered from the IP address ``host`` by ``path``; ``woken``: its phone can be. Raises
    ParseError."""
    if params.instance and (params.reg_id or woken):
        return _by_instance(params)
    key = comparable(without_push(contact) if woken else contact)
    if path:
        key += f" {path[-1]}"
    elif Uri.parse(contact).host not in (host, f"[{host}]"):
        key += f" {host}"
    return key if len(key) <= _LONGEST else hashlib.sha256(key.encode()).hexdigest()


def former_key(contact: str, params: ContactParams) -> str:
    """The same, as edges of before make it."""
    if params.instance and params.reg_id:
        return _by_instance(params)
    uri = Uri.parse(contact)
    user = unquote(uri.user) if "%" in uri.user else uri.user
    return f"{uri.scheme}:{user}@{uri.host}:{uri.port or ''};{(uri.param('transport') or '').lower()}"


def _by_instance(params: ContactParams) -> str:
    return f"{params.instance} {params.reg_id}"
