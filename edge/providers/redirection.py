"""Where a provider sends a call elsewhere with a 3xx (RFC 3261 §8.1.3.4).

Theory of operation. To the provider we are the user agent, so we try what it names; but it mustn't have us call what
nobody has judged, nor show others what is between it and us. So the number is always the one that was judged: a Contact
that names another one isn't tried, but left to the caller, whose new call is judged as any. A Contact at a host of the
account's own is a new attempt with that account. One at any other host is called as an address outside is: without the
account's credentials and header fields, by the rules for such addresses, and where the tenant may call any.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import unquote

from edge.sip.errors import ParseError
from edge.sip.headers import NameAddr, parse_params, values_of
from edge.sip.message import Header, Response
from edge.sip.uri import Uri, escaped
from lambdas.contract import ProviderLeg, Server, Target, Transport, may_be_sip

MOST = 3
"""Redirections of one call at one provider, of which one may lead elsewhere."""
FOLLOWED = (300, 301, 302, 305)
_MOST_CONTACTS = 10
_TRANSPORTS: dict[str, Transport] = {"udp": "udp", "tcp": "tcp", "tls": "tls"}
_SEPARATORS = str.maketrans("", "", "+-.() ")


class Redirection(NamedTuple):
    """``own``: at the provider itself."""

    target: Target
    own: bool


def redirections(response: Response, target: Target, hosts: Collection[str]) -> list[Redirection]:
    """Where ``response`` sends the call to ``target``, best first, as far as that may be tried; ``hosts`` are names and
    addresses of the provider's."""
    leg = target.provider
    if leg is None:
        return []
    called = Uri.parse(target.uri)
    found: list[tuple[float, Redirection]] = []
    for uri, params in _contacts(response)[:_MOST_CONTACTS]:
        own = uri.host in hosts
        server = redirected_to(uri, leg.server)
        if server is None or not (own or leg.redirects) or (uri.port and not may_be_sip(uri.port)):
            continue
        if uri.user and _number(uri.user) != _number(called.user):
            continue
        found.append((-_q(params), Redirection(_redirected(target, leg, called.user, server, own), own)))
    found.sort(key=lambda one: one[0])
    return [one for _, one in found]


def redirected_to(uri: Uri, server: Server) -> Server | None:
    """Where ``uri`` leads (RFC 3263 §4.1), which ``server`` has named instead of itself; None if that can't be. Whoever
    is reached by TLS doesn't send us where others can listen."""
    transport = _TRANSPORTS.get((uri.param("transport") or "").lower())
    secure = uri.scheme == "sips" or server.transport == "tls"
    if uri.scheme not in ("sip", "sips") or (secure and transport not in (None, "tcp", "tls")):
        return None
    if secure:
        return Server(host=uri.host, port=uri.port, transport="tls", ca=server.ca)
    if transport is None:
        return Server(host=uri.host, port=uri.port, by_dns=True, ca=server.ca)
    return Server(host=uri.host, port=uri.port, transport=transport, ca=server.ca)


def left_to_the_caller(response: Response, hosts: Collection[str], domain: str) -> list[Header]:
    """The Contacts of a 3xx that goes back. Numbers at the provider itself are written at our ``domain``, where whoever
    calls them is judged; "" if there is none."""
    headers: list[Header] = []
    for key, line in response.headers:
        if key != "contact":
            continue
        for value in values_of(line.partition(":")[2].strip()):
            try:
                address = NameAddr.parse(value)
                uri = Uri.parse(address.uri)
            except ParseError:
                continue
            if domain and uri.user and uri.host in hosts:
                value = f"<sip:{escaped(uri.user)}@{domain}>{address.params}"
            headers.append((key, f"Contact: {value}"))
    return headers


def _contacts(response: Response) -> list[tuple[Uri, str]]:
    found: list[tuple[Uri, str]] = []
    for line in response.values("contact"):
        for value in values_of(line):
            try:
                address = NameAddr.parse(value)
                found.append((Uri.parse(address.uri), address.params))
            except ParseError:
                continue
    return found


def _redirected(target: Target, leg: ProviderLeg, user: str, server: Server, own: bool) -> Target:
    """``target`` at another server. What is judged is what leaves: the user stays."""
    transport = "" if server.transport == "udp" else f";transport={server.transport}"
    port = f":{server.port}" if server.port else ""
    changes = {"server": server if own else server.model_copy(update={"ca": ""}), "routes": []}
    if not own:
        private = [line for line in leg.headers if line.lower().startswith("privacy:")]
        changes |= {"id": "", "secret": None, "headers": private, "transfers": False}
        changes |= {"registered": False, "redirects": False}
    changed = leg.model_copy(update=changes)
    return target.model_copy(update={"uri": f"sip:{escaped(user)}@{server.host}{port}{transport}", "provider": changed})


def _number(user: str) -> str:
    """What is the same for the same number, however it is written: with a plus or not, with separators, parameters."""
    return unquote(user).partition(";")[0].translate(_SEPARATORS)


def _q(params: str) -> float:
    try:
        return float(parse_params(params).get("q", "1"))
    except (ParseError, ValueError):
        return 1.0
