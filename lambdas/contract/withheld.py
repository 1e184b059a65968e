"""A call to a provider by somebody who isn't to be shown: by a code before the number, which the control plane knows,
or as his phone asks, which the edge knows."""

from __future__ import annotations

from lambdas.contract.provider import ProviderLeg

ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'
"""RFC 3323 §4.1.1.3."""
_TRUSTED = ("p-asserted-identity:", "p-preferred-identity:", "remote-party-id:")


def withheld(leg: ProviderLeg) -> ProviderLeg:
    """``leg`` with an anonymous From and ``Privacy: id`` (RFC 3325 §9.3). The provider goes on hearing who it is, the
    way that it is set to, or as its user agent's preference (§9.2); an address elsewhere doesn't hear it at all."""
    lines = [line for line in leg.headers if not line.lower().startswith("privacy:")]
    if not leg.id:
        lines = [line for line in lines if not _names(line)]
    elif any(map(_names, lines)):
        lines = [_full(line) for line in lines]
    else:
        lines.append(f"P-Preferred-Identity: <{known_as(leg)}>")
    return leg.model_copy(update={"from_value": ANONYMOUS, "headers": [*lines, "Privacy: id"]})


def known_as(leg: ProviderLeg) -> str:
    """The URI that the provider knows the caller by: where From is anonymous, that of the other header fields."""
    named = leg.from_value if leg.from_value != ANONYMOUS else next(filter(_names, leg.headers), ANONYMOUS)
    return named.partition("<")[2].partition(">")[0]


def _names(line: str) -> bool:
    return line.lower().startswith(_TRUSTED)


def _full(line: str) -> str:
    """Remote-Party-ID says by itself whether it may be shown."""
    if not line.lower().startswith("remote-party-id:"):
        return line
    rest = [part for part in line.split(";") if not part.strip().lower().startswith("privacy=")]
    return ";".join([*rest, "privacy=full"])
