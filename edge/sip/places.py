"""The fleet's edge addresses as others write them: each may have an IPv6 side and a host name beside itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address

from edge.sip.flow import Flow
from edge.sip.uri import as_written, host_in_uri

_NAMED = frozenset(("tls", "wss"))  # whose peers check a name against the certificate (RFC 5922 §7)


class Places:
    """One immutable set of them. Whatever a URI says, what is kept and asked for goes by the edge address itself."""

    def __init__(
        self, addresses: Iterable[str], sides: Mapping[str, tuple[str, str]] | None = None, shown: bool = True
    ) -> None:
        """``sides`` maps edge addresses to their IPv6 address and host name, "" where there is none. Unless they are
        ``shown`` they are recognised, but not written: not every edge would find them."""
        sides = sides or {}
        self.addresses = frozenset(addresses)
        ipv6 = {address: f"[{IPv6Address(side)}]" for address, (side, _) in sides.items() if side}
        names = {address: name.lower() for address, (_, name) in sides.items() if name}
        self._at = {address: address for address in self.addresses}
        self._at |= {host: address for found in (ipv6, names) for address, host in found.items()}
        self._ipv6, self._names = (ipv6, names) if shown else ({}, {})

    def address_at(self, host: str) -> str:
        """The edge address whose side or name a URI's ``host`` is, in whatever spelling; "" if it is none of ours."""
        found = self._at.get(host)
        if found is None:
            found = self._at.get(as_written(host), "") if host.startswith("[") else ""
        return found

    def sent_by(self, flow: Flow) -> str:
        """The edge's side of ``flow`` as a Via's sent-by and a Record-Route's host and port."""
        address = flow.address
        host = self._names.get(address) if flow.transport in _NAMED else None
        if host is None:
            host = self._ipv6.get(address, address) if ":" in flow.host else address
        return f"{host}:{flow.port}"

    def via(self, flow: Flow, branch: str) -> str:
        """A Via line of the edge's side (§18.1.1)."""
        return f"Via: SIP/2.0/{flow.transport.upper()} {self.sent_by(flow)};branch={branch}"

    def uri(self, flow: Flow, user: str, secure: bool = False) -> str:
        """A URI of ours with this user part, by which whoever is at the other end of ``flow`` reaches its side;
        ``secure``: by TLS all the way (RFC 5630 §3)."""
        if secure:
            return f"sips:{user}@{self.sent_by(flow)}{';transport=ws' if flow.transport == 'wss' else ''}"
        return f"sip:{user}@{self.sent_by(flow)}{flow.uri_transport}"

    def has_ipv6(self, address: str) -> bool:
        """Whether edge address ``address`` has an IPv6 side."""
        return address in self._ipv6

    def outside(self, ip: str) -> bool:
        """Whether an IP address isn't the fleet's own."""
        return not self.address_at(host_in_uri(ip))
