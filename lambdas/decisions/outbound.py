"""Calls out: which providers a dialled number goes to, and how each of them wants the call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from lambdas.contract import ProviderLeg, Reject, Route, Server, Target, Transport, withheld
from lambdas.decisions.barring import dark
from lambdas.decisions.limits import rate_of
from lambdas.decisions.numbers import Number, read, write
from lambdas.decisions.provider import TenantSettings, Way
from lambdas.decisions.uris import sip_uri
from lambdas.decisions.values import StoredAccount

_PORTS: dict[Transport, int] = {"udp": 5060, "tcp": 5060, "tls": 5061}
"""Of edges, by default."""
_MOST_WAYS = 4  # providers that one call tries


@dataclass(frozen=True, slots=True)
class Choice:
    """A number, and the names of the providers to try, in order. ``dark``: also while no decision can be had; ``rate``
    is a minute's."""

    number: Number
    providers: tuple[str, ...]
    dark: bool = True
    rate: float = 0.0


def is_emergency(user: str, settings: TenantSettings) -> bool:
    number = read(user, settings.country)
    return number is not None and number.emergency


def choose(user: str, named: tuple[str, ...], settings: TenantSettings) -> Choice | Reject | None:
    """Where the number ``user`` goes, ``named`` being the providers that were chosen for it; None if it is no number,
    or no route leads anywhere."""
    number = read(user, settings.country)
    if number is None:
        return None
    if number.refused:
        return Reject(status=403, reason=f"Forbidden: {number.refused}")
    if number.emergency:
        # A wrong way here costs lives: only where the tenant has said which provider can locate its callers.
        if not settings.emergency:
            reason = "Forbidden: no provider is set for emergency calls; use another telephone"
            return Reject(status=403, reason=reason)
        return Choice(number, settings.emergency)
    routes = [route for route in settings.routes if number.judged.startswith(route.prefix)]
    best = max(routes, key=lambda route: len(route.prefix), default=None)
    providers = named or (best.providers if best is not None else ())
    if not providers:
        return None
    return Choice(number, providers, dark(number, settings), rate_of(number.judged, settings.rates))


def elsewhere(host: str) -> Reject:
    """An address of neither a domain of ours nor a provider."""
    return Reject(status=404, reason=f"Not Found: {host} is neither a domain nor a provider of this service")


def nowhere(user: str, settings: TenantSettings) -> Reject:
    """Neither an account nor a number that a route leads to."""
    isnt = "no outbound route for this number" if read(user, settings.country) is not None else "no such account"
    return Reject(status=404, reason=f"Not Found: {isnt}")


def through(
    choice: Choice, ways: Sequence[Way], account: StoredAccount, asking: str = "", outside: bool = False
) -> Route | Reject:
    """To the first of ``ways``, and on failure to the next ones. ``asking`` is the edge address that asks;
    ``outside``: the tenant may call addresses outside, where a provider may send its calls, too."""
    usable = [way for way in ways if way.provider.enabled and way.provider.tenant == account.tenant]
    if not usable:
        return Reject(status=404, reason="Not Found: no provider takes this number")
    first, *others = [_target(way, choice, account, asking, outside) for way in usable[:_MOST_WAYS]]
    return Route(targets=[first.model_copy(update={"instead": others})], tenant=account.tenant)


def number_in(user: str, settings: TenantSettings) -> Choice | None:
    """The number that the user part of an address elsewhere looks like: whoever has that address may take it for one,
    so it is judged as if it were dialled. None if it looks like none."""
    number = read(unquote(user), settings.country)
    if number is None:
        return None
    return Choice(number, (), dark(number, settings), rate_of(number.judged, settings.rates))


def named_outside(aor: str, caller: str, country: str) -> str:
    """The URI by which whoever is called directly elsewhere knows the caller: the account ``aor``'s own. Where a
    provider has called (``aor`` is ""), ``caller`` is only what it says: no name that it gives becomes one of our
    domains'. A number is told, of no domain; anybody else is anonymous (RFC 3261 §8.1.1.3, RFC 3323 §4.1.1.3)."""
    if aor:
        return f"sip:{aor}"
    number = read(caller, country)
    known = f"{number.e164}@anonymous.invalid;user=phone" if number is not None and number.e164 else ""
    return f"sip:{known or 'anonymous@anonymous.invalid'}"


def directly(uri: str, caller: str, address: str, number: Choice | None = None, tls: bool = True) -> Target:
    """To a SIP address elsewhere, from edge address ``address``, as ``caller`` (a URI); ``number`` is the one that the
    address may stand for, which limits and rates go by; ``tls``: edges can do that. Raises ValueError if it can't be
    read."""
    user, host, port, said = sip_uri(uri)
    transport: Transport = "tls" if said == "tls" and tls else "tcp" if said == "tcp" else "udp"
    server = Server(host=host, port=port, transport=transport, by_dns=not said)
    leg = ProviderLeg(
        id="",
        server=server,
        from_value=f"<{caller}>",
        to_uri=f"sip:{user}@{host}" if user else uri,
        number=number.number.judged if number is not None else "",
        dark=number.dark if number is not None else True,
        rate=number.rate if number is not None else 0.0,
        registered=False,
    )
    return Target(uri=uri, flow=(address, _PORTS[transport], transport, "", 0, 0), binding="", provider=leg)


def _target(way: Way, choice: Choice, account: StoredAccount, asking: str, outside: bool) -> Target:
    provider, number = way.provider, choice.number
    written = write(number, provider.number_format)
    port = f":{provider.port}" if provider.port and not provider.outbound_proxy else ""
    uri = f"sip:{written}@{provider.host}{port}{provider.uri_transport}"
    caller = account.caller_id or provider.caller_id
    user = provider.from_user or provider.username
    headers = list(provider.headers)
    if caller:
        identity = f"<sip:{caller}@{provider.domain}>"
        match provider.caller_id_in:
            case "from":
                user = caller
            case "p-asserted-identity":
                headers.append(f"P-Asserted-Identity: {identity}")
            case "p-preferred-identity":
                headers.append(f"P-Preferred-Identity: {identity}")
            case "remote-party-id":
                headers.append(f"Remote-Party-ID: {identity};party=calling;screen=yes;privacy=off")
    display = f'"{provider.display_name}" ' if provider.display_name else ""
    leg = ProviderLeg(
        id=provider.id,
        server=provider.server,
        # Whoever registers it has it already.
        secret=None if way.registered and way.address == asking else provider.secret,
        from_value=f"{display}<sip:{user}@{provider.domain}>",
        to_uri=f"sip:{written}@{provider.domain}",
        headers=headers,
        routes=list(way.routes),
        transfers=provider.transfers,
        number=number.judged,
        dark=choice.dark,
        rate=choice.rate,
        shows=number.shown or number.emergency,
        registered=way.registered,
        redirects=outside,
    )
    return Target(
        uri=uri,
        flow=(way.address, way.ports.get(provider.transport, _PORTS[provider.transport]), provider.transport, "", 0, 0),
        binding="",
        provider=withheld(leg) if number.hidden else leg,
    )
