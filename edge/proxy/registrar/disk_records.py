"""Accounts on the edge's disk, for a restart while the control plane is out of reach."""

from __future__ import annotations

from edge.proxy.location.bindings import HeldBinding
from edge.proxy.registrar.binding_keys import former_key
from edge.proxy.registrar.expiries import GrantedTimes
from edge.proxy.stack.records import AccountRecord, BindingRecord
from edge.proxy.stack.stack import Stack
from lambdas.contract import binding_id


class DiskRecords:
    """Makes records and takes them back."""

    def __init__(self, stack: Stack, times: GrantedTimes) -> None:
        self._stack = stack
        self._times = times

    def take_changed(self, limit: int, now: float) -> list[tuple[str, AccountRecord | None]]:
        """Up to ``limit`` AORs whose records have changed since they were last taken, with the record; None if there is
        nothing to keep any more."""
        changed = self._stack.bindings.changed
        return [(aor, self._record(aor, now)) for aor in [changed.pop() for _ in range(min(limit, len(changed)))]]

    @property
    def settled(self) -> bool:
        """Whether all changes so far can be taken: none of the grants that have become void is still to be found."""
        return self._stack.grants.settled

    @property
    def age(self) -> int:
        """How often many grants have become void."""
        return self._stack.grants.age

    def put_back(self, aors: list[str]) -> None:
        """Their records couldn't be written: they are still to be taken."""
        self._stack.bindings.changed.update(aors)

    def _record(self, aor: str, now: float) -> AccountRecord | None:
        stack = self._stack
        grant = self._stack.grants.known(aor)
        if grant is None:
            return None
        bindings = [
            BindingRecord(
                held.contact, held.flow, held.durable_until - now, held.call_id, held.tenant, held.params, held.path,
                held.key, held.push,
            )
            for _, held in stack.bindings.all_of(aor)
        ]  # fmt: skip
        return AccountRecord(grant.as_grant(), bindings, stack.wall(now))

    def restore(self, records: list[tuple[str, AccountRecord]], bindings: bool, now: float) -> None:
        """Take back what was kept, but for what has been decided since. CSeqs aren't kept: a phone's next one is higher
        than any that counted."""
        stack = self._stack
        addresses = stack.fleet.epochs.keys() | stack.fleet.arriving
        for aor, record in records:
            age = max(0.0, stack.wall(now) - record.at)
            if stack.grants.known(aor) is None:
                stack.grants.keep(aor, record.grant, now)
            for kept in record.bindings if bindings else ():
                if kept.flow.address not in addresses or not stack.partition.has(kept.flow):
                    continue
                durable = now + kept.durable - age
                until = now + self._times.patience(kept.flow, durable - now, kept.push is not None)
                held = HeldBinding(
                    aor, kept.contact, kept.flow, until, durable, durable, kept.call_id,
                    tenant=kept.tenant, params=kept.params, path=kept.path, key=kept.key, push=kept.push,
                )  # fmt: skip
                binding = binding_id(aor, kept.key or former_key(kept.contact, kept.params))
                if kept.flow.reliable:  # its connection was the last process's; it comes back, maybe with all others
                    stack.sources.prove(kept.flow.host, now)
                    stack.bindings.close(binding, held, now)
                else:
                    stack.bindings.put(binding, held, now, fresh=False)
