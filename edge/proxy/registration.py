"""REGISTER at the edge (RFC 3261 §10.3 as far as it needs no policy): fields in, 200 with all bindings out."""

from __future__ import annotations

from edge.proxy.bindings import HeldBindings
from edge.proxy.fleet import Fleet
from edge.proxy.validation import Fault, Incoming
from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, parse_params, split_list
from edge.sip.message import Header, Request
from edge.sip.uri import Uri
from lambdas.contract import Accept, Binding, ContactField, Credentials, RegisterQuestion

_MOST_CONTACTS = 10
_LONGEST_CONTACT = 512  # characters
_LONGEST_INSTANCE = 256
_LONGEST = 2**32 - 1  # RFC 3261 §20.19


def realm_of(incoming: Incoming, fleet: Fleet) -> str:
    """The canonical domain whose registrar is asked. Raises Fault 404 if it isn't one of ours (§10.3 step 5)."""
    realm = fleet.canonical(incoming.to_uri().host)
    if realm is None or fleet.canonical(incoming.uri.host) is None:
        raise Fault(404, "Not Found: this domain is not served here")
    return realm


def question(ask: str, incoming: Incoming, realm: str, credentials: Credentials, fleet: Fleet) -> RegisterQuestion:
    """What the control plane has to know. Raises Fault 400 for a Contact or Expires that can't be read."""
    request = incoming.request
    contacts, star = _contacts(request)
    if len(contacts) > _MOST_CONTACTS:
        raise Fault(400, f"Bad Request: more than {_MOST_CONTACTS} Contacts in one REGISTER")
    expires = _seconds(incoming.value("expires"))
    if star and (contacts or expires != 0):
        raise Fault(400, 'Bad Request: "Contact: *" goes with Expires: 0 and no other Contact')
    to = incoming.to_uri()
    if not to.user:
        raise Fault(400, "Bad Request: To names no user")
    return RegisterQuestion(
        request=ask,
        address=incoming.flow.address,
        epoch=fleet.epoch(incoming.flow.address),
        aor=to.at(realm),
        credentials=credentials,
        contacts=contacts,
        star=star,
        expires=expires,
        call_id=incoming.call_id,
        cseq=incoming.cseq,
        flow=incoming.flow,
        user_agent=(incoming.value("user-agent") or "")[:128],
    )


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
    if len(address.uri) > _LONGEST_CONTACT:
        raise Fault(400, f"Bad Request: a Contact URI longer than {_LONGEST_CONTACT} characters")
    uri = Uri.parse(address.uri)
    if uri.scheme not in ("sip", "sips"):
        raise Fault(400, "Bad Request: only SIP Contacts can be registered here")
    params = parse_params(address.params) if address.params else {}
    instance = params.get("+sip.instance", "").strip("<>")[:_LONGEST_INSTANCE]
    text = params.get("reg-id", "")
    reg_id = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    return ContactField(
        key=f"{instance} {reg_id}" if instance and reg_id else _comparable(uri),
        uri=address.uri,
        expires=_seconds(params.get("expires")),
        q=_thousandths(params.get("q", "")),
        instance=instance,
        reg_id=reg_id,
    )


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


def contact_headers(bindings: list[Binding]) -> list[Header]:
    """The Contact header fields of the 200 (§10.3 step 8)."""
    headers: list[Header] = []
    for binding in bindings:
        line = f"Contact: <{binding.contact}>;expires={binding.expires}"
        if binding.q != 1000:
            line += f";q={binding.q / 1000:g}"
        if binding.instance:
            line += f';+sip.instance="<{binding.instance}>"'
        if binding.reg_id:
            line += f";reg-id={binding.reg_id}"
        headers.append(("contact", line))
    return headers


def keep(accepted: Accept, aor: str, fresh: Flow, bindings: HeldBindings, fleet: Fleet, now: float) -> None:
    """Bring what this edge holds in line with a registrar's answer; ``fresh`` is the flow the REGISTER came on."""
    here = [binding for binding in accepted.bindings if binding.flow[0] in fleet.epochs]
    bindings.keep_only(aor, [binding.id for binding in here])
    for binding in here:
        flow = Flow(*binding.flow)
        bindings.put(binding.id, aor, binding.contact, flow, now + binding.expires, now, fresh=flow == fresh)
