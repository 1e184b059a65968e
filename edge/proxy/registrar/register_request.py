"""What a REGISTER asks for (RFC 3261 §10.3 as far as it needs no policy), read once for everybody."""

from __future__ import annotations

from dataclasses import dataclass

from edge.proxy.location.bindings import ContactParams, contact_params
from edge.proxy.registrar.binding_report import binding_key
from edge.proxy.registrar.expiries import granted
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.validation import SECURE, check_required, check_text
from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, parse_params, split_list, storable
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Request
from edge.sip.numbers import number_of
from edge.sip.uri import Uri
from lambdas.contract import MOST_CONTACTS, ContactField, Credentials, RegisterQuestion, binding_id, wanted

_LONGEST_CONTACT = 512  # octets: what a binding's key in the table has room for
_LONGEST_INSTANCE = 256
_HIGHEST_REG_ID = 2**31 - 1  # RFC 5626 §4.2
_LONGEST = 2**32 - 1  # RFC 3261 §20.19
_BY_TLS_ONLY = "Forbidden: a sips URI can be registered by TLS only"


@dataclass(frozen=True, slots=True)
class AskedContact:
    """A Contact: as the control plane gets it (``field``), the id of its ``binding``, the seconds that the phone
    ``wanted`` for it (None if it leaves that to us) and those that it is ``granted`` at most."""

    field: ContactField
    binding: str
    params: ContactParams
    wanted: int | None
    granted: int


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """A REGISTER, read. ``star`` stands for ``Contact: *``; ``expires`` is the Expires header field."""

    incoming: Incoming
    realm: str
    aor: str
    contacts: list[AskedContact]
    star: bool
    expires: int | None

    def question(self, ask: str, credentials: Credentials, fleet: Fleet) -> RegisterQuestion:
        incoming = self.incoming
        return RegisterQuestion(
            request=ask,
            address=incoming.flow.address,
            epoch=fleet.epoch(incoming.flow.address),
            aor=self.aor,
            credentials=credentials,
            contacts=[contact.field for contact in self.contacts],
            star=self.star,
            expires=self.expires,
            call_id=incoming.call_id,
            cseq=incoming.cseq,
            flow=incoming.flow,
            user_agent=storable(incoming.value("user-agent") or "")[:128],
            grants=True,
        )


def realm_of(incoming: Incoming, fleet: Fleet) -> str:
    """The canonical domain whose registrar is asked. Raises Fault: 404 if it isn't one of ours (§10.3 step 5),
    420, and what is wrong with To."""
    to = incoming.to_uri()
    if to.scheme not in ("sip", "sips"):
        raise Fault(400, "Bad Request: To has no SIP URI")  # §10.2
    if to.scheme == "sips" and incoming.flow.transport not in SECURE:
        raise Fault(403, _BY_TLS_ONLY)
    realm = fleet.canonical(to.host)
    if realm is None or fleet.canonical(incoming.uri.host) is None:
        raise Fault(404, "Not Found: this domain is not served here")
    if "require" in incoming.first:
        check_required(incoming.request)
    check_text(incoming, to)
    return realm


def read(incoming: Incoming, realm: str) -> RegisterRequest:
    """Raises Fault 400 for a Contact or To that can't be used."""
    fields, star = _contacts(incoming.request, incoming.flow.transport in SECURE)
    if len(fields) > MOST_CONTACTS:
        raise Fault(400, f"Bad Request: more than {MOST_CONTACTS} Contacts in one REGISTER")
    expires = _seconds(incoming.value("expires"))
    if star and (fields or expires != 0):
        raise Fault(400, 'Bad Request: "Contact: *" goes with Expires: 0 and no other Contact')
    to = incoming.to_uri()
    if not to.user:
        raise Fault(400, "Bad Request: To names no user")
    aor = to.at(realm)
    contacts = []
    for field in fields:
        binding, seconds = binding_id(aor, field.key), wanted(field, expires)
        params = contact_params(field.q, field.instance, field.reg_id)
        contacts.append(
            AskedContact(field, binding, params, seconds, granted(seconds, field.uri, incoming.flow, binding))
        )
    return RegisterRequest(incoming, realm, aor, contacts, star, expires)


def _seconds(text: str | None) -> int | None:
    """delta-seconds; what can't be read counts as absent (§20.19 lets us choose the default then)."""
    if text is None or not (text.isascii() and text.isdecimal()):
        return None
    seconds = number_of(text, _LONGEST)
    return _LONGEST if seconds is None else seconds


def _contacts(request: Request, secure: bool) -> tuple[list[ContactField], bool]:
    contacts: list[ContactField] = []
    star = False
    try:
        for value in request.values("contact"):
            for one in split_list(value):
                if one == "*":
                    star = True
                else:
                    contacts.append(_contact(one, secure))
    except ParseError as error:
        raise Fault(400, f"Bad Request: {error}") from error
    return contacts, star


def _contact(value: str, secure: bool) -> ContactField:
    address = NameAddr.parse(value)
    if _octets(address.uri) > _LONGEST_CONTACT:
        raise Fault(400, f"Bad Request: a Contact URI longer than {_LONGEST_CONTACT} octets")
    uri = Uri.parse(address.uri)
    if uri.scheme not in ("sip", "sips"):
        raise Fault(400, "Bad Request: only SIP Contacts can be registered here")
    if uri.scheme == "sips" and not secure:
        raise Fault(403, _BY_TLS_ONLY)
    params = parse_params(address.params) if address.params else {}
    instance = params.get("+sip.instance", "").strip("<>")
    if _octets(instance) > _LONGEST_INSTANCE:
        raise Fault(400, f"Bad Request: an instance longer than {_LONGEST_INSTANCE} octets")
    reg_id = number_of(params.get("reg-id", ""), _HIGHEST_REG_ID) or 0
    return ContactField(
        key=binding_key(uri, instance, reg_id),
        uri=address.uri,
        expires=_seconds(params.get("expires")),
        q=_thousandths(params.get("q", "")),
        instance=instance,
        reg_id=reg_id,
    )


def _octets(text: str) -> int:
    """How many ``text`` has. Raises Fault 400 if they aren't UTF-8."""
    try:
        return len(text.encode())
    except UnicodeError as error:
        raise Fault(400, "Bad Request: a Contact that is not UTF-8") from error


def _thousandths(q: str) -> int:
    if not q:
        return 1000
    try:
        return max(0, min(1000, round(float(q) * 1000)))
    except (ValueError, OverflowError):
        return 1000
