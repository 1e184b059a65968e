"""Who a request says that it is from. Who calls is said by the credentials; From may name nobody of ours, but nobody
else of ours either."""

from __future__ import annotations

from edge.proxy.location.bindings import HeldBindings
from edge.proxy.stack.fleet import Fleet
from edge.sip import privacy
from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, value_of, values_of
from edge.sip.incoming import Fault, Incoming
from edge.sip.message import Header
from edge.sip.telephone import party_of
from edge.sip.uri import Uri, escaped

_NOBODY = privacy.ANONYMOUS.partition(":")[2]
_LONGEST = 200  # characters of what others have written


def claimed(sender: Uri, fleet: Fleet) -> str:
    """The AOR of ours that From names; "" where it names none: anonymous (RFC 3323 §4.1.1.3), a telephone number, the
    phone's own address, somebody elsewhere."""
    domain = fleet.canonical(sender.host) if sender.host else None
    if domain is None or not sender.user or privacy.is_anonymous(sender.user, sender.host):
        return ""
    return sender.at(domain)


def realm_of(incoming: Incoming, sender: Uri, fleet: Fleet, bindings: HeldBindings) -> str | None:
    """Whose credentials are asked for: those of From's domain, where it is ours, of the account that is registered on
    the flow, or of the Request-URI's domain; ``tel:`` has none, and is the default domain's. None if it is nobody of
    ours who calls, nor anybody who is called."""
    realm = fleet.canonical(sender.host) if sender.host else None
    if realm is not None:
        return realm
    held = bindings.get(bindings.first_on(incoming.flow))
    if held is not None:
        return held.aor.rpartition("@")[2]
    uri = incoming.uri
    return fleet.canonical(uri.host) if uri.host else fleet.default_domain or None


def asserted(account: str) -> Header:
    """Who calls, where From doesn't say it (RFC 3325 §5)."""
    user, _, domain = account.rpartition("@")
    return ("p-asserted-identity", f"P-Asserted-Identity: <sip:{escaped(user)}@{domain}>")


def told_by(incoming: Incoming, sender: Uri) -> tuple[str, str]:
    """Who calls by a provider: as everybody may know it, and as the provider says though it isn't to be shown (or
    "")."""
    if not privacy.hides(incoming.first):
        return party_of(sender), ""
    return _NOBODY, next(filter(None, map(_named_in, _told(incoming))), "")


def _told(incoming: Incoming) -> list[str]:
    """The values that say who it is, the network's own word first."""
    lines = (incoming.first.get(key) for key in (*privacy.ASSERTED, "from"))
    return [value for line in lines if line is not None for value in values_of(value_of(line))]


def _named_in(value: str) -> str:
    try:
        uri = Uri.parse(NameAddr.parse(value).uri)
    except ParseError:
        return ""
    return "" if not uri.user or privacy.is_anonymous(uri.user, uri.host) else party_of(uri)[:_LONGEST]


def check_privacy(incoming: Incoming) -> None:
    """Raises Fault 500 for what its sender would rather not have called without (RFC 3323 §5, "critical"), and what
    nobody does here: hide the way that it came, or the session."""
    wanted = privacy.asked(incoming.first)
    if "critical" in wanted and "none" not in wanted and not wanted.isdisjoint(("header", "session")):
        raise Fault(500, "Server Internal Error: privacy of header and session can't be had here")
