"""What a REGISTER asks for (RFC 3261 §10.3 as far as it needs no policy), and the Contacts of its answer."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from edge.proxy.location.bindings import ContactParams, HeldBinding
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.validation import check_text
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, parse_params, split_list
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header, Request
from edge.sip.uri import Uri
from lambdas.contract import (
    MOST_CONTACTS,
    Binding,
    BindingReport,
    ContactField,
    Credentials,
    RegisterQuestion,
    wanted,
)

SHORT, SHORT_SPREAD = 90, 31  # what a UDP phone behind NAT gets: 90 to 120 s, the same for it each time
DURABLE = 3600
GRACE = 20.0
"""Seconds after what a phone was granted, within which it may still refresh."""
SILENCE = SHORT + SHORT_SPREAD + GRACE
"""Seconds within which a phone behind NAT is heard if it lives, whatever it was granted when."""

_LONGEST_CONTACT = 512  # octets: what a binding's key in the table has room for
_LONGEST_INSTANCE = 256
_LONGEST = 2**32 - 1  # RFC 3261 §20.19


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """A REGISTER, read. ``star`` stands for ``Contact: *``; ``expires`` is the Expires header field."""

    incoming: Incoming
    aor: str
    contacts: list[ContactField]
    star: bool
    expires: int | None

    def wanted(self, contact: ContactField) -> int | None:
        """Seconds that the phone asks for; None if it leaves that to us."""
        return wanted(contact, self.expires)

    def question(self, ask: str, credentials: Credentials, fleet: Fleet) -> RegisterQuestion:
        incoming = self.incoming
        return RegisterQuestion(
            request=ask,
            address=incoming.flow.address,
            epoch=fleet.epoch(incoming.flow.address),
            aor=self.aor,
            credentials=credentials,
            contacts=self.contacts,
            star=self.star,
            expires=self.expires,
            call_id=incoming.call_id,
            cseq=incoming.cseq,
            flow=incoming.flow,
            user_agent=(incoming.value("user-agent") or "")[:128],
            grants=True,
        )


def realm_of(incoming: Incoming, fleet: Fleet) -> str:
    """The canonical domain whose registrar is asked. Raises Fault 404 if it isn't one of ours (§10.3 step 5)."""
    realm = fleet.canonical(incoming.to_uri().host)
    if realm is None or fleet.canonical(incoming.uri.host) is None:
        raise Fault(404, "Not Found: this domain is not served here")
    check_text(incoming.request, incoming.to_uri())
    return realm


def read(incoming: Incoming, realm: str) -> RegisterRequest:
    """Raises Fault 400 for a Contact or To that can't be used."""
    contacts, star = _contacts(incoming.request)
    if len(contacts) > MOST_CONTACTS:
        raise Fault(400, f"Bad Request: more than {MOST_CONTACTS} Contacts in one REGISTER")
    expires = _seconds(incoming.value("expires"))
    if star and (contacts or expires != 0):
        raise Fault(400, 'Bad Request: "Contact: *" goes with Expires: 0 and no other Contact')
    to = incoming.to_uri()
    if not to.user:
        raise Fault(400, "Bad Request: To names no user")
    return RegisterRequest(incoming, to.at(realm), contacts, star, expires)


def granted(wanted: int | None, contact: str, flow: Flow, binding: str) -> int:
    """For how long a phone gets its binding, in seconds. One whose packets come through a NAT (its Contact names
    another address) has to be heard often, to notice that it is gone."""
    most = DURABLE
    if behind_nat(contact, flow):
        most = SHORT + zlib.crc32(binding.encode()) % SHORT_SPREAD
    return most if wanted is None else min(wanted, most)


def behind_nat(contact: str, flow: Flow) -> bool:
    """Whether a UDP phone's packets come from somewhere else than its Contact says."""
    return not flow.reliable and Uri.parse(contact).host != flow.host


def patience(contact: str, flow: Flow, durable: float) -> float:
    """Seconds within which a phone that this process hasn't heard yet must be heard. A connection of before is gone,
    and its phone makes another one; only phones that were granted the durable expiry get as long."""
    return SILENCE if flow.reliable or behind_nat(contact, flow) else durable


def key_of(contact: str, params: ContactParams) -> str:
    """What tells bindings of an AOR apart: RFC 5626 §6 where the phone gave both, else the comparable Contact URI."""
    return _key(Uri.parse(contact), params.instance, params.reg_id)


def _key(uri: Uri, instance: str, reg_id: int) -> str:
    return f"{instance} {reg_id}" if instance and reg_id else _comparable(uri)


def report(held: HeldBinding, at: float, expires: int) -> BindingReport:
    """What became of ``held``; ``at`` is Unix time."""
    return BindingReport(
        aor=held.aor,
        key=key_of(held.contact, held.params),
        contact=held.contact,
        flow=held.flow,
        call_id=held.call_id,
        cseq=held.cseq,
        at=at,
        expires=expires,
        tenant=held.tenant,
        q=held.params.q,
        instance=held.params.instance,
        reg_id=held.params.reg_id,
    )


def contact_header(contact: str, expires: float, q: int, instance: str, reg_id: int) -> Header:
    """A Contact of the 200 (§10.3 step 8)."""
    line = f"Contact: <{contact}>;expires={round(expires)}"
    if q != 1000:
        line += f";q={q / 1000:g}"
    if instance:
        line += f';+sip.instance="<{instance}>"'
    if reg_id:
        line += f";reg-id={reg_id}"
    return ("contact", line)


def contact_headers(
    here: Iterable[HeldBinding], elsewhere: Iterable[tuple[Binding, float]], now: float
) -> list[Header]:
    """All bindings of an AOR; ``elsewhere`` with when they run out."""
    headers = [contact_header(held.contact, max(0.0, held.granted_until - now), *held.params) for held in here]
    headers += [
        contact_header(binding.contact, until - now, binding.q, binding.instance, binding.reg_id)
        for binding, until in elsewhere
        if until > now
    ]
    return headers


def _seconds(text: str | None) -> int | None:
    """delta-seconds; what can't be read counts as absent (§20.19 lets us choose the default then)."""
    if text is None or not (text.isascii() and text.isdecimal()):
        return None
    return min(int(text), _LONGEST) if len(text) <= 10 else _LONGEST


def _contacts(request: Request) -> tuple[list[ContactField], bool]:
    contacts: list[ContactField] = []
    star = False
    try:
        for value in request.values("contact"):
            for one in split_list(value):
                if one == "*":
                    star = True
                else:
                    contacts.append(_contact(one))
    except ParseError as error:
        raise Fault(400, f"Bad Request: {error}") from error
    return contacts, star


def _contact(value: str) -> ContactField:
    address = NameAddr.parse(value)
    if _octets(address.uri) > _LONGEST_CONTACT:
        raise Fault(400, f"Bad Request: a Contact URI longer than {_LONGEST_CONTACT} octets")
    uri = Uri.parse(address.uri)
    if uri.scheme not in ("sip", "sips"):
        raise Fault(400, "Bad Request: only SIP Contacts can be registered here")
    params = parse_params(address.params) if address.params else {}
    instance = params.get("+sip.instance", "").strip("<>")
    if _octets(instance) > _LONGEST_INSTANCE:
        raise Fault(400, f"Bad Request: an instance longer than {_LONGEST_INSTANCE} octets")
    text = params.get("reg-id", "")
    reg_id = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    return ContactField(
        key=_key(uri, instance, reg_id),
        uri=address.uri,
        expires=_seconds(params.get("expires")),
        q=_thousandths(params.get("q", "")),
        instance=instance,
        reg_id=reg_id,
    )


def _octets(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _comparable(uri: Uri) -> str:
    """Two Contact URIs with the same text here are equal by §19.1.4 for all that phones send: of the parameters only
    transport tells Contacts of one phone apart."""
    return f"{uri.scheme}:{uri.address_of_record}:{uri.port or ''};{(uri.param('transport') or '').lower()}"


def _thousandths(q: str) -> int:
    if not q:
        return 1000
    try:
        return max(0, min(1000, round(float(q) * 1000)))
    except (ValueError, OverflowError):
        return 1000
