"""What the control plane is told of a binding."""

from __future__ import annotations

from edge.proxy.location.bindings import ContactParams, HeldBinding
from edge.sip.uri import Uri
from lambdas.contract import BindingReport


def key_of(contact: str, params: ContactParams) -> str:
    """What tells bindings of an AOR apart: RFC 5626 §6 where the phone gave both, else the comparable Contact URI."""
    return binding_key(Uri.parse(contact), params.instance, params.reg_id)


def binding_key(uri: Uri, instance: str, reg_id: int) -> str:
    """The same, of a Contact's parts."""
    return f"{instance} {reg_id}" if instance and reg_id else _comparable(uri)


def _comparable(uri: Uri) -> str:
    """Two Contact URIs with the same text here are equal by §19.1.4 for all that phones send: of the parameters only
    transport tells Contacts of one phone apart."""
    return f"{uri.scheme}:{uri.address_of_record}:{uri.port or ''};{(uri.param('transport') or '').lower()}"


def report(held: HeldBinding, at: float, expires: int) -> BindingReport:
    """What became of ``held``; ``at`` is Unix time."""
    return BindingReport(
        aor=held.aor,
        key=key_of(held.contact, held.params),
        contact=held.contact,
        flow=held.flow,
        call_id=held.call_id,
        cseq=held.cseq,
        at=at,
        expires=expires,
        tenant=held.tenant,
        q=held.params.q,
        instance=held.params.instance,
        reg_id=held.params.reg_id,
    )
