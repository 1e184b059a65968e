"""What the control plane is told of a binding."""

from __future__ import annotations

from edge.proxy.location.bindings import HeldBinding
from edge.proxy.registrar.binding_keys import former_key
from lambdas.contract import BindingReport


def report(held: HeldBinding, at: float, expires: int) -> BindingReport:
    """What became of ``held``; ``at`` is Unix time."""
    return BindingReport(
        aor=held.aor,
        key=held.key or former_key(held.contact, held.params),
        contact=held.contact,
        flow=held.flow.wire,
        call_id=held.call_id,
        cseq=held.cseq,
        at=at,
        expires=expires,
        tenant=held.tenant,
        q=held.params.q,
        instance=held.params.instance,
        reg_id=held.params.reg_id,
        path=list(held.path),
        push=held.push,
    )
