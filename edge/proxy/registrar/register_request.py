"""What a REGISTER asks for (RFC 3261 §10.3 as far as it needs no policy), read once for everybody."""

from __future__ import annotations

from dataclasses import dataclass

from edge.proxy.location.bindings import ContactParams, HeldBindings, contact_params
from edge.proxy.registrar.binding_keys import binding_key, former_key
from edge.proxy.registrar.expiries import GrantedTimes
from edge.proxy.registrar.push_params import LONGEST as LONGEST_PUSH
from edge.proxy.registrar.push_params import push_of, same_phone
from edge.proxy.stack.authentication import Presented
from edge.proxy.stack.fleet import Fleet
from edge.proxy.stack.own_places import OwnPlaces
from edge.proxy.stack.validation import check_required, check_text
from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, parse_params, storable
from edge.sip.incoming import Fault, Incoming
from edge.sip.numbers import number_of
from edge.sip.uri import Uri
from lambdas.contract import MOST_CONTACTS, ContactField, RegisterQuestion, binding_id, wanted, without_push

_LONGEST_CONTACT = 512  # octets: what a binding's key in the table has room for
_LONGEST_INSTANCE = 256
_HIGHEST_REG_ID = 2**31 - 1  # RFC 5626 §4.2
_LONGEST = 2**32 - 1  # RFC 3261 §20.19
_Said = tuple[ContactField, bool]  # and whether it wakes by itself
_BY_TLS_ONLY = "Forbidden: a sips URI can be registered by TLS only"
_MOST_PROXIES = 8  # in a Path: as a Route they go out with every call to the phone, in one packet
_LONGEST_PATH = 1024  # octets


@dataclass(frozen=True, slots=True)
class AskedContact:
    """A Contact: as the control plane gets it (``field``), the id of its ``binding``, unless that has another (see
    ``name``), the seconds that the phone ``wanted`` for it (None if it leaves that to us) and those that it is
    ``granted`` at most, unless it can be woken. ``refreshes``: it wakes by itself to refresh it (RFC 8599 §4.1.4)."""

    field: ContactField
    binding: str
    params: ContactParams
    wanted: int | None
    granted: int
    refreshes: bool = False

    @property
    def asks(self) -> bool:
        """Whether it only asks which push notification services there are (RFC 8599 §4.1.5)."""
        push = self.field.push
        return push is not None and not push.prid and self.wanted != 0


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """A REGISTER, read. ``star`` stands for ``Contact: *``; ``expires`` is the Expires header field; ``path`` has the
    Path values (RFC 3327); ``outbound`` tells that the phone knows outbound and made use of it (RFC 5626 §6), ``gruu``
    that it knows GRUUs (RFC 5627)."""

    incoming: Incoming
    realm: str
    aor: str
    contacts: list[AskedContact]
    star: bool
    expires: int | None
    path: tuple[str, ...]
    outbound: bool
    gruu: bool

    def name(self, contact: AskedContact, bindings: HeldBindings) -> str:
        """The id of one of its Contacts' bindings: another than its own where it is held by that, since an edge of
        before has made it, or its phone was elsewhere then."""
        known = bindings.get(contact.binding) or bindings.asleep.get(contact.binding)
        if contact.params.reg_id or known is not None:
            return contact.binding
        incoming, place = self.incoming, (self.incoming.flow.host, self.path)
        uri = without_push(contact.field.uri)
        for binding, held in bindings.all_of(self.aor):
            if held.params.reg_id:
                continue
            same_place = held.call_id == incoming.call_id or (held.flow.host, held.path) == place
            if same_phone(held.push, contact.field.push) or (same_place and without_push(held.contact) == uri):
                return binding
        return contact.binding

    def question(self, ask: str, presented: Presented, fleet: Fleet, silent: dict[str, float]) -> RegisterQuestion:
        """``silent``: how long other phones of the AOR have been so."""
        incoming = self.incoming
        return RegisterQuestion(
            request=ask,
            address=incoming.flow.address,
            epoch=fleet.epoch(incoming.flow.address),
            aor=self.aor,
            credentials=presented.credentials,
            contacts=[contact.field for contact in self.contacts],
            star=self.star,
            expires=self.expires,
            call_id=incoming.call_id,
            cseq=incoming.cseq,
            flow=incoming.flow.wire,
            user_agent=storable(incoming.value("user-agent") or "")[:128],
            grants=True,
            path=list(self.path),
            nonce_made=presented.nonce_made,
            silent=silent,
        )


def realm_of(incoming: Incoming, fleet: Fleet, own: OwnPlaces) -> str:
    """The canonical domain whose registrar is asked. Raises Fault: 404 if it isn't one of ours (§10.3 step 5),
    420, and what is wrong with To."""
    to = incoming.to_uri()
    if to.scheme not in ("sip", "sips"):
        raise Fault(400, "Bad Request: To has no SIP URI")  # §10.2
    if to.scheme == "sips" and not incoming.flow.secure:
        raise Fault(403, _BY_TLS_ONLY)
    realm = fleet.canonical(to.host)
    if realm is None or not (fleet.canonical(incoming.uri.host) or own.has(incoming.uri, incoming.flow, fleet)):
        raise Fault(404, "Not Found: this domain is not served here")
    if "require" in incoming.first:
        check_required(incoming.request)
    check_text(incoming, to)
    return realm


def read(incoming: Incoming, realm: str, fleet: Fleet, times: GrantedTimes) -> RegisterRequest:
    """Raises Fault 400 for a Contact, Path or To that can't be used, 439 for a phone that relies on outbound where the
    first proxy doesn't know it."""
    to = incoming.to_uri()
    if not to.user:
        raise Fault(400, "Bad Request: To names no user")
    aor, flow = to.at(realm), incoming.flow
    try:
        path = _path(incoming)
        said, star = _contacts(incoming, path, fleet)
    except ParseError as error:
        raise Fault(400, f"Bad Request: {error}") from error
    fields = [field for field, _ in said]
    if len(fields) > MOST_CONTACTS:
        raise Fault(400, f"Bad Request: more than {MOST_CONTACTS} Contacts in one REGISTER")
    expires = _seconds(incoming.value("expires"))
    if star and (fields or expires != 0):
        raise Fault(400, 'Bad Request: "Contact: *" goes with Expires: 0 and no other Contact')
    added = [field for field in fields if wanted(field, expires) != 0]
    by_flow = any(field.reg_id for field in added)
    if by_flow and len(added) > 1:
        raise Fault(400, "Bad Request: a Contact with a reg-id is registered alone")  # RFC 5626 §6
    supported = _supported(incoming)
    outbound = by_flow and "outbound" in supported
    contacts: dict[str, AskedContact] = {}
    for field, refreshes in said:
        seconds, binding = wanted(field, expires), binding_id(aor, field.key)
        if seconds == 0 and binding in contacts:
            continue  # phones take a binding back and make it anew in one request: it is the new one that counts
        params = contact_params(field.q, field.instance, field.reg_id)
        granted = times.granted(seconds, flow, binding, outbound)
        contacts[binding] = AskedContact(field, binding, params, seconds, granted, refreshes)
    return RegisterRequest(
        incoming, realm, aor, list(contacts.values()), star, expires, path, outbound, "gruu" in supported
    )


def _seconds(text: str | None) -> int | None:
    """delta-seconds; what can't be read counts as absent (§20.19 lets us choose the default then)."""
    if text is None or not (text.isascii() and text.isdecimal()):
        return None
    seconds = number_of(text, _LONGEST)
    return _LONGEST if seconds is None else seconds


def _supported(incoming: Incoming) -> frozenset[str]:
    """The option tags of Supported."""
    if "supported" not in incoming.first:
        return frozenset()
    return frozenset(tag.strip().lower() for line in incoming.request.values("supported") for tag in line.split(","))


# Path


def _path(incoming: Incoming) -> tuple[str, ...]:
    """RFC 3327 §5.3. We needn't be told that the phone knows it: whoever wrote it wants it to be used, and has shown
    the phone's credentials. Raises ParseError, and Fault."""
    if "path" not in incoming.first:
        return ()
    values = incoming.request.split_values("path")
    if len(values) > _MOST_PROXIES or sum(map(_octets, values)) > _LONGEST_PATH:
        raise Fault(400, f"Bad Request: a Path of more than {_MOST_PROXIES} proxies or {_LONGEST_PATH} octets")
    for value in values:
        if "<" not in value or Uri.parse(NameAddr.parse(value).uri).scheme not in ("sip", "sips"):
            raise ParseError(f"not a Path: {value[:60]!r}")
    return tuple(values)


def _outbound_passes(incoming: Incoming, path: tuple[str, ...]) -> bool:
    """RFC 5626 §6: the phone's own proxy, if there is one, has to know which flow is the phone's."""
    return not incoming.forwarded or any(Uri.parse(NameAddr.parse(value).uri).param("ob") is not None for value in path)


# Contact


def _contacts(incoming: Incoming, path: tuple[str, ...], fleet: Fleet) -> tuple[list[_Said], bool]:
    """Raises ParseError, and Fault."""
    fields: list[_Said] = []
    star = False
    for value in incoming.request.split_values("contact"):
        if value == "*":
            star = True
        else:
            fields.append(_contact(value, incoming, path, fleet))
    return fields, star


def _contact(value: str, incoming: Incoming, path: tuple[str, ...], fleet: Fleet) -> _Said:
    address, flow = NameAddr.parse(value), incoming.flow
    size = _octets(without_push(address.uri))
    if size > _LONGEST_CONTACT or _octets(address.uri) - size > LONGEST_PUSH:
        raise Fault(400, f"Bad Request: a Contact URI longer than {_LONGEST_CONTACT} octets")
    uri = Uri.parse(address.uri)
    if uri.scheme not in ("sip", "sips"):
        raise Fault(400, "Bad Request: only SIP Contacts can be registered here")
    if uri.scheme == "sips" and not flow.secure:
        raise Fault(403, _BY_TLS_ONLY)
    said = parse_params(address.params) if address.params else {}
    instance = said.get("+sip.instance", "").strip("<>")
    if _octets(instance) > _LONGEST_INSTANCE:
        raise Fault(400, f"Bad Request: an instance longer than {_LONGEST_INSTANCE} octets")
    params = contact_params(
        _thousandths(said.get("q", "")), instance, number_of(said.get("reg-id", ""), _HIGHEST_REG_ID) or 0
    )
    if params.reg_id and not _outbound_passes(incoming, path):
        if "outbound" in _supported(incoming):
            raise Fault(439, "First Hop Lacks Outbound Support")
        params = contact_params(params.q, instance, 0)
    push = push_of(uri) if fleet.knows_push else None
    if fleet.knows_whole_contacts:
        key = binding_key(address.uri, params, flow.host, path, push is not None)
    else:
        key = former_key(address.uri, params)
    field = ContactField(
        key=key,
        uri=address.uri,
        expires=_seconds(said.get("expires")),
        q=params.q,
        instance=params.instance,
        reg_id=params.reg_id,
        push=None if push is not None and push.prid and _woken_on_its_way(incoming) else push,
    )
    return field, "+sip.pnsreg" in said


def _woken_on_its_way(incoming: Incoming) -> bool:
    """Whether a proxy between the phone and here says that it will wake it (RFC 8599 §5.6.1.1): then nobody else does.
    Raises ParseError."""
    if "feature-caps" not in incoming.first:
        return False
    values = incoming.request.split_values("feature-caps")
    return any("+sip.pns" in parse_params(f";{value.partition(';')[2]}") for value in values)


def _octets(text: str) -> int:
    """How many ``text`` has. Raises Fault 400 if they aren't UTF-8."""
    try:
        return len(text.encode())
    except UnicodeError as error:
        raise Fault(400, "Bad Request: a Contact or Path that is not UTF-8") from error


def _thousandths(q: str) -> int:
    if not q:
        return 1000
    try:
        return max(0, min(1000, round(float(q) * 1000)))
    except (ValueError, OverflowError):
        return 1000
