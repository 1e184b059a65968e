"""A call across a border as one who takes part in it shows it, and what can be sent to its two ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.providers.leg import dialog_at_phone, dialog_at_provider, provider_uri
from edge.providers.leg_token import BadLegToken, DialogNames, LegToPhone, LegToProvider, Sealer
from edge.proxy.forwarding.forwarder import Forwarder
from edge.proxy.forwarding.own_requests import Responses, make_own
from edge.proxy.forwarding.record_route import DialogTarget
from edge.proxy.stack.stack import Stack
from edge.proxy.stack.validation import examine
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, split_list
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header, Request, Response
from edge.sip.uri import Uri

OnResponse = Callable[[Response, float], None]


@dataclass(frozen=True, slots=True)
class BorderCall:
    """``incoming`` is the request that its phone has sent last, ``way`` where that goes, ``name`` the call's.
    ``contact`` and ``routes`` lead to the provider; ``at_provider`` and ``at_phone`` are the dialogs on the two sides,
    ``phone`` the way to the phone."""

    incoming: Incoming
    way: LegToProvider
    name: str
    contact: str
    routes: tuple[str, ...]
    at_provider: DialogNames
    at_phone: DialogNames
    phone: LegToPhone

    @classmethod
    def of(cls, incoming: Incoming, way: LegToProvider, name: str, keys: Sealer, home: str = "") -> BorderCall:
        """``home`` is the phone's Contact, if the request doesn't say it. Raises Fault."""
        try:
            contact = way.contact or provider_uri(incoming.uri.user, incoming.call_id, keys)
            routes = way.routes or tuple(incoming.request.split_values("route"))
            home = home or contact_of(incoming.request)
            for party in (incoming.value("from"), incoming.value("to")):
                NameAddr.parse(party or "")
            if Uri.parse(contact).scheme != "sip":
                raise Fault(
                    403, f"Forbidden: the provider is at {contact}, where this service sends nothing of its own"
                )
        except (BadLegToken, ParseError) as error:
            raise Fault(400, f"Bad Request: {error}") from error
        at_phone = dialog_at_phone(incoming)
        phone = LegToPhone(
            way.provider, incoming.flow, way.binding, home, way.tenant, way.started, way.transfers, way.translated,
            salt=way.salt, theirs=way.theirs, dialog=at_phone,
        )  # fmt: skip
        at_provider = dialog_at_provider(incoming, way, keys)
        return cls(incoming, way, name, contact, routes, at_provider, at_phone, phone)


def contact_of(message: Request | Response) -> str:
    """The URI of its first Contact. Raises ParseError."""
    return NameAddr.parse(split_list(message.get("contact") or "")[0]).uri


class Speaker:
    """Sends requests of our own: on each side in the name of the other one."""

    def __init__(self, stack: Stack, forwarder: Forwarder) -> None:
        self._stack = stack
        self._forwarder = forwarder

    def made(
        self,
        flow: Flow,
        method: str,
        uri: str,
        dialog: DialogNames,
        cseq: int,
        headers: Sequence[Header] = (),
        body: bytes = b"",
    ) -> Incoming:
        """A request as if it had come in on ``flow``. Raises Fault."""
        return examine(flow, make_own(method, uri, dialog, cseq, headers, body), (self._stack.ids.token(),))

    def send(
        self, incoming: Incoming, target: DialogTarget, then: OnResponse, now: float, reports: bool = False
    ) -> None:
        """In its dialog; ``reports``: the end of the call is reported if this is its BYE."""
        self._forwarder.own(incoming, Responses(then), target, now, reports)

    def acknowledge(self, incoming: Incoming, target: DialogTarget, now: float) -> None:
        """Send an ACK."""
        self._forwarder.own_ack(incoming, target, now)


def nothing(response: Response, now: float) -> None:
    """Follows from a response."""
