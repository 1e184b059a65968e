"""What a registrar says of push notifications (RFC 8599 §5.4, §5.6.1, in RFC 6809's header field)."""

from __future__ import annotations

from collections.abc import Iterable

from edge.proxy.location.bindings import NOTICE, HeldBinding
from edge.proxy.registrar.register_request import AskedContact
from edge.sip.message import Header
from lambdas.contract import Push

_REFRESH = round(NOTICE) + 10
"""Seconds before it expires that a phone that wakes by itself is to refresh its binding: more than 120 (§5.6.1.1), and
before it would be woken."""
_SHORT = 2 * _REFRESH
"""Seconds of a binding below which such a phone would do little else: it is woken as others are."""


def feature_caps(
    registered: Iterable[tuple[AskedContact, HeldBinding | None]], services: Iterable[Push]
) -> list[Header]:
    """For a REGISTER's Contacts, and the bindings that they have now; ``services`` are those that were asked for."""
    lines: dict[str, None] = {}
    for contact, held in registered:
        if contact.asks:
            lines.update((_line(service, False), None) for service in services)
        elif held is not None and held.push is not None:
            lines[_line(held.push, contact.refreshes and held.granted_until - held.taken_at >= _SHORT)] = None
    return [("feature-caps", line) for line in lines]


def _line(service: Push, refreshes: bool) -> str:
    line = f'Feature-Caps: *;+sip.pns="{service.provider}"'
    if service.vapid:
        line += f';+sip.vapid="{service.vapid}"'
    if refreshes:
        line += f';+sip.pnsreg="{_REFRESH}"'
    return line
