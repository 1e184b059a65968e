"""Where phones are registered at this edge: as targets, for its own use and for peers that ask."""

from __future__ import annotations

from collections.abc import Iterable

from edge.proxy.location.bindings import HeldBinding
from edge.proxy.stack.gruu import gruu_of
from edge.proxy.stack.sleepers import target_of
from edge.proxy.stack.stack import Stack
from edge.sip.errors import ParseError
from edge.sip.incoming import Fault
from edge.sip.uri import Uri
from lambdas.contract import Target


def phones_here(stack: Stack, whom: str, tenant: str) -> list[Target]:
    """Those of an AOR of ``tenant``, the one with a Contact URI or a GRUU, or the one with a binding's id: by that one,
    or by another flow of its instance. Whoever knows the id needn't say whose it is; a flow of it that has just ended
    is named, too, since that tells whose it was."""
    bindings = stack.bindings
    if "@" not in whom and ":" not in whom:
        return targets(stack, bindings.of_instance(whom))
    found = _with_uri(stack, whom, tenant) if whom.startswith(("sip:", "sips:")) else bindings.of(whom)
    return targets(stack, ((binding, held) for binding, held in found if held.tenant == tenant))


def _with_uri(stack: Stack, text: str, tenant: str) -> list[tuple[str, HeldBinding]]:
    try:
        gruu = gruu_of(Uri.parse(text), text, stack.fleet)
    except (ParseError, Fault):
        return []
    if gruu is None:
        return stack.bindings.with_contact(text, tenant)
    return [(one, held) for one, held in stack.bindings.of(gruu.aor) if gruu.means(held.params.instance, held.call_id)]


def targets(stack: Stack, found: Iterable[tuple[str, HeldBinding]]) -> list[Target]:
    """Bindings as targets."""
    return [target_of(binding, held, stack.wall) for binding, held in found]
