"""What phones in browsers get: JsSIP and SIP.js drop a request with a ``tel:`` URI in its start line, From or To,
without an answer. They match dialogs by tags, so it may be a SIP URI there (RFC 3261 §19.1.6)."""

from __future__ import annotations

from edge.proxy.stack.stack import Stack
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, value_of
from edge.sip.message import Request
from edge.sip.telephone import name_of
from edge.sip.uri import Uri, escaped

_NAMES = {"from": "From", "to": "To"}


def in_browser(flow: Flow) -> bool:
    """Whether what is at its other end may be a browser."""
    return flow.transport in ("ws", "wss")


def without_tel(request: Request, flow: Flow, stack: Stack, binding: str) -> bool:
    """Write the numbers of ``request``, which goes by ``flow`` to ``binding``, as SIP URIs of its phone's domain, if
    that is a browser; whether there were any in From or To."""
    if not in_browser(flow):
        return False
    held = stack.bindings.get(binding)
    domain = held.aor.rpartition("@")[2] if held is not None else stack.fleet.default_domain
    request.uri = _sip_uri(request.uri, domain) or request.uri
    found = False
    for index, (key, line) in enumerate(request.headers):
        if key in _NAMES and "tel:" in line.lower():
            spelled = _spelled(value_of(line), domain)
            if spelled:
                request.headers[index] = (key, f"{_NAMES[key]}: {spelled}")
                found = True
    return found


def _spelled(value: str, domain: str) -> str:
    """A From or To value with a SIP URI; "" if it has no ``tel:`` URI."""
    try:
        address = NameAddr.parse(value)
        uri = _sip_uri(address.uri, domain)
    except ParseError:
        return ""
    name = value.rpartition(f"<{address.uri}")[0]
    return f"{name}<{uri}>{address.params}" if uri else ""


def _sip_uri(text: str, domain: str) -> str:
    if text[:4].lower() != "tel:":
        return ""
    return f"sip:{escaped(name_of(Uri.parse(text)))}@{domain};user=phone"
