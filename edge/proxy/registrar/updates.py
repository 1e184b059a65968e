"""What the control plane tells of bindings and grants without being asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from edge.proxy.location.bindings import HeldBinding, contact_params
from edge.proxy.registrar.expiries import GrantedTimes
from edge.proxy.registrar.trials import Trials
from edge.proxy.stack.stack import Stack
from edge.sip.flow import Flow
from lambdas.contract import BindingChange, Change, Grant


class Updates:
    """Keeps what this edge holds as the location service has it."""

    def __init__(self, stack: Stack, times: GrantedTimes) -> None:
        self._stack = stack
        self._times = times
        self._trials = Trials(stack)

    def update(self, changes: Iterable[BindingChange], streams: Collection[Flow], now: float) -> None:
        """What the location service has for our addresses: read after a start or takeover, or changed elsewhere. Of
        their streams only ``streams`` are open; the others ended with whoever held the address before."""
        bindings = self._stack.bindings
        for change in changes:
            flow = Flow(*change.flow)
            if change.expires and not self._stack.partition.has(flow):
                continue  # another process of this edge has it, and has told so
            if change.expires:
                until = now + self._times.patience(flow, change.expires, change.push is not None)
                durable = now + change.expires
                new = HeldBinding(
                    change.aor, change.contact, flow, until, durable, durable, change.call_id, change.cseq,
                    change.tenant, contact_params(change.q, change.instance, change.reg_id),
                    tuple(change.path), change.key, change.push,
                )  # fmt: skip
                if flow.reliable and flow not in streams:
                    self._stack.sources.prove(flow.host, now)  # as it had there: it comes back, maybe with all others
                    bindings.close(change.id, new, now)
                    if new.push is None:  # who sleeps is found out when he is called
                        self._stack.flow_closed(flow, (change.aor,), now)
                    continue
                bindings.put(change.id, new, now, fresh=False)
                if change.doubted_at:
                    self._trials.doubt(change.id, change.doubted_at, now)
            elif flow in (bindings.present_flow(change.id), bindings.asleep.flow_of(change.id)):
                bindings.remove(change.id)

    def registered(self, aor: str, grant: Grant | None, taken: Iterable[str], now: float) -> None:
        """Phones of ``aor`` have registered at another process of this edge, which has the bindings ``taken`` now."""
        self._stack.bindings.taken(taken)
        if grant is not None:
            self._stack.grants.keep(aor, grant, now)

    def changed(self, change: Change, now: float) -> None:
        """The change feed says that an account, or where one of its phones is, has changed, or that all of a tenant's
        grants are void."""
        bindings = self._stack.bindings
        if change.tenant and change.version:
            self._stack.grants.revoke_tenant(change.tenant, now)
        if not change.aor:
            return
        if not change.binding:
            self._stack.grants.revoke(change.aor, change.version)
            bindings.changed.add(change.aor)
            return
        for known, _ in bindings.all_of(change.aor):
            if change.binding in ("*", known):
                bindings.remove(known)

    def revalidate(self) -> None:
        """Something that the change feed said is lost: each account's next REGISTER has to be decided, and nothing is
        made from grants before. That decision says how long all of the account's bindings last."""
        self._stack.grants.void_all()
