"""What is kept on the edge's disk for a restart while the control plane is out of reach: a record for each AOR, with
its grant and its bindings here. The grant holds password-equivalent hashes: whoever stores records encrypts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.proxy.bindings import HeldBinding
from edge.proxy.registration import key_of, patience
from edge.sip.flow import Flow
from lambdas.contract import Grant, Wire, WireFlow, binding_id

if TYPE_CHECKING:
    from edge.proxy.core import Core


class _Binding(Wire):
    contact: str
    flow: WireFlow
    durable: float  # seconds from when it was written
    call_id: str
    tenant: str
    extras: tuple[int, str, int]


class _Record(Wire):
    grant: Grant | None
    bindings: list[_Binding]
    at: float  # Unix time of writing


class Memory:
    """Makes records and takes them back."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def take_changed(self, limit: int, now: float) -> list[tuple[str, bytes]]:
        """Up to ``limit`` AORs whose records have changed since they were last taken, with the record; b"" if there is
        nothing to keep any more."""
        changed = self._core.bindings.changed
        return [(aor, self._record(aor, now)) for aor in [changed.pop() for _ in range(min(limit, len(changed)))]]

    def _record(self, aor: str, now: float) -> bytes:
        core = self._core
        grant = core.registrar.grants.known(aor)
        bindings = [
            _Binding(
                contact=held.contact,
                flow=held.flow,
                durable=held.durable_until - now,
                call_id=held.call_id,
                tenant=held.tenant,
                extras=held.extras,
            )
            for _, held in core.bindings.of(aor)
        ]
        if grant is None:
            return b""
        record = _Record(grant=grant.as_grant(), bindings=bindings, at=core.wall(now))
        return record.model_dump_json().encode()

    def restore(self, records: list[tuple[str, bytes]], bindings: bool, now: float) -> None:
        """Take back what was kept. CSeqs aren't: a phone's next one is higher than any that counted."""
        core = self._core
        addresses = core.fleet_now.epochs.keys() | core.fleet_now.arriving
        for aor, data in records:
            try:
                record = _Record.model_validate_json(data)
            except ValueError:
                core.counters["unreadable_records"] += 1  # of another version: the account is asked for again
                continue
            age = max(0.0, core.wall(now) - record.at)
            if record.grant is not None:
                core.registrar.grants.keep(aor, record.grant, now)
            for kept in record.bindings if bindings else ():
                if kept.flow[0] not in addresses:
                    continue
                durable = now + kept.durable - age
                flow = Flow(*kept.flow)
                until = now + patience(kept.contact, flow, durable - now)
                held = HeldBinding(aor, kept.contact, flow, until, durable)
                held.call_id, held.tenant, held.extras = kept.call_id, kept.tenant, kept.extras
                key = key_of(kept.contact, kept.extras[1], kept.extras[2])
                core.bindings.put(binding_id(aor, key), held, now, fresh=False)
