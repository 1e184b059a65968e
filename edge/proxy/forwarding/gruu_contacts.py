"""Phones' own Contacts behind their GRUUs (RFC 5627).

Theory of operation. A phone that has a GRUU gives it to its peers for a Contact, and gets requests in dialogs by it.
The phone itself may know only its Contact (some answer 404 to a GRUU of theirs), so that stands in the Request-URI of
what goes to it: it is known where the phone is registered, and asked for there. Where a Contact is sealed into a URI of
ours anyway, the registered one is, so that nobody has to ask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.gruu import gruu_in_contact, gruu_of
from edge.proxy.stack.phones_here import phones_here
from edge.proxy.stack.stack import Stack
from edge.sip.errors import ParseError
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Request, Response
from edge.sip.uri import Uri, request_uri
from lambdas.contract import Target

OnContact = Callable[[str, float], None]


def is_gruu(text: str, fleet: Fleet) -> bool:
    """Whether a Request-URI is a GRUU of ours."""
    if ";gr" not in text:
        return False
    try:
        return gruu_of(Uri.parse(text), text, fleet) is not None
    except (ParseError, Fault):
        return False


def find_contact(stack: Stack, gruu: str, binding: str, tenant: str, then: OnContact, now: float) -> None:
    """``then`` gets the Contact that ``binding`` has, or where that isn't known (""), a phone of ``tenant`` with this
    GRUU, here or at another edge, as a Request-URI; "" if nobody has it."""
    whom = binding or gruu

    def found(targets: list[Target], at: float) -> None:
        then(_contact(targets, binding), at)

    here = _contact(phones_here(stack, whom, tenant), binding)
    if here:
        then(here, now)
    else:
        stack.questions.find(whom, tenant, found)


def _contact(targets: list[Target], binding: str) -> str:
    return next((request_uri(one.uri) for one in targets if binding in ("", one.binding)), "")


def with_registered_contact(stack: Stack, incoming: Incoming) -> Incoming:
    """A phone's request with the Contact that it is registered by, if it has its GRUU there."""
    line = incoming.first.get("contact")
    gruu = gruu_in_contact(line, stack.fleet) if line is not None else None
    held = stack.bindings.get(stack.bindings.on_flow(incoming.source, gruu.aor)) if gruu is not None else None
    if held is None:
        return incoming
    request, line = incoming.request, f"Contact: <{held.contact}>"
    headers = [("contact", line) if header[0] == "contact" else header for header in request.headers]
    made = Request(request.method, request.uri, headers, request.body)
    return replace(incoming, request=made, first={**incoming.first, "contact": line})


def with_contact(response: Response, uri: str, fleet: Fleet) -> Response:
    """A phone's response with ``uri``, by which it has been reached, where it has its GRUU for a Contact."""
    line = next((line for key, line in response.headers if key == "contact"), "")
    if response.status >= 300 or gruu_in_contact(line, fleet) is None:
        return response
    headers = [("contact", f"Contact: <{uri}>") if header[0] == "contact" else header for header in response.headers]
    return Response(response.status, response.reason, headers, response.body)
