"""REGISTER requests and what their answers say (RFC 3261 §10.2)."""

from __future__ import annotations

from urllib.parse import unquote

from edge.sip.errors import ParseError
from edge.sip.flow import Flow
from edge.sip.headers import NameAddr, parse_params, storable, values_of
from edge.sip.message import Header, Request, Response, header_of
from edge.sip.numbers import number_of
from edge.sip.places import Places
from edge.sip.uri import Uri
from lambdas.contract import ProviderAccount

LONGEST_EXPIRES = 86_400
"""Seconds of one registration, whatever a provider would like."""
LONGEST_UDP = 1300
"""Octets (RFC 3261 §18.1.1) of a request to where RFC 3263 leads, if there isn't a flow yet."""
MOST_ROUTES = 8  # of a Service-Route
_LONGEST_TEXT = 300
_LONGEST_RETRY_AFTER = 3600.0
_MOST_SECONDS = 999_999_999


def contact_of(account: ProviderAccount, flow: Flow, places: Places) -> str:
    """Where calls are to come in."""
    return places.uri(flow, account.contact_user)


def register(
    account: ProviderAccount,
    flow: Flow,
    places: Places,
    branch: str,
    tag: str,
    cseq: int,
    seconds: int,
    by_proxy: bool,
    credentials: list[Header],
) -> Request:
    """The request for ``seconds`` (0: unregister). ``by_proxy``: by way of the outbound proxy, if there is one."""
    headers: list[Header] = [
        ("via", f"{places.via(flow, branch)};rport"),
    ]
    if account.server.route and by_proxy:
        headers.append(("route", f"Route: {account.server.route}"))
    headers += [
        ("max-forwards", "Max-Forwards: 70"),
        ("from", f"From: <{account.aor}>;tag={tag}"),
        ("to", f"To: <{account.aor}>"),
        ("call-id", f"Call-ID: {account.call_id}"),
        ("cseq", f"CSeq: {cseq} REGISTER"),
        ("contact", f"Contact: <{contact_of(account, flow, places)}>;expires={seconds}"),
        ("expires", f"Expires: {seconds}"),
        ("supported", "Supported: path"),
        ("user-agent", "User-Agent: sipwizard"),
    ]
    headers += [header_of(line) for line in account.headers]
    headers += credentials
    headers.append(("content-length", "Content-Length: 0"))
    return Request("REGISTER", account.registrar, headers)


def granted(response: Response, contact: str, asked: int) -> int:
    """The expiry of our own Contact (the URI ``contact``) among those listed; without any, that of the whole answer
    (§10.2.4). 0 if only others are listed. Its user part is nobody else's: a registrar behind a border may write any
    host there, its NAT's or its own. Of several with that user the one at our host counts, else the one that lasts
    longest: the others were left by a registration from another address."""
    whole = seconds_of(response.get("expires"), asked)
    ours = Uri.parse(contact)
    listed = [value for line in response.values("contact") for value in values_of(line)]
    found: list[tuple[bool, int]] = []
    for value in listed:
        try:
            address = NameAddr.parse(value)
            uri = Uri.parse(address.uri)
            seconds = seconds_of(parse_params(address.params).get("expires"), whole)
        except ParseError:
            continue
        if unquote(uri.user) == ours.user:
            found.append((uri.host == ours.host, seconds))
    if not listed:
        return min(whole, LONGEST_EXPIRES)
    return min(max(found)[1], LONGEST_EXPIRES) if found else 0


def retry_after(response: Response) -> float:
    """Seconds (§20.33), within reason."""
    text = (response.get("retry-after") or "").split(";")[0].split("(")[0].strip()
    return min(float(seconds_of(text, 0)), _LONGEST_RETRY_AFTER)


def clean(text: str) -> str:
    """Storable, whatever octets came."""
    return storable(text)[:_LONGEST_TEXT]


def seconds_of(text: str | None, otherwise: int) -> int:
    seconds = number_of((text or "").strip(), _MOST_SECONDS)
    return otherwise if seconds is None else seconds
