"""The bindings table."""

from __future__ import annotations

from collections.abc import Sequence

from pynamodb.connection import Connection
from pynamodb.exceptions import TransactWriteError
from pynamodb.expressions.condition import Condition
from pynamodb.transactions import TransactWrite

from lambdas.contract import Change
from lambdas.decisions.values import Put, StoredBinding
from lambdas.repositories.feed import Conflict, Feed
from lambdas.repositories.models import BindingItem
from lambdas.repositories.transactions import Write, conditional

KEEP_REMOVED = 3600  # seconds that a removed or expired item stays, to win over a REGISTER that is still under way
_LATE = 10_000  # milliseconds: how far apart the control plane's clocks and the index's delay may bring two changes


class Bindings:
    """Reads and conditional writes of bindings."""

    def of(self, aor: str) -> tuple[StoredBinding, ...]:
        """All items of an AOR, removed and expired ones too, read consistently within the Region."""
        return tuple(_value(item) for item in BindingItem.query(aor, consistent_read=True))

    def by_id(self, binding: str) -> tuple[StoredBinding, ...]:
        """The items of one binding, one for each edge address it was at."""
        return tuple(_value(item) for item in BindingItem.by_id.query(binding))

    def changes(self, address: str, since: int, limit: int) -> tuple[list[StoredBinding], int, bool]:
        """The items of an edge address that changed after cursor ``since`` (0 for all): (items, new cursor, more).

        An index may show changes late, so those of the last 10 s before the cursor come again: apply them as they are.
        """
        after = max(0, since - _LATE)
        query = BindingItem.by_address.query(address, BindingItem.changed_at > after, limit=limit)
        items = [_value(item) for item in query]
        cursor = max((item.changed_at for item in items), default=since)
        full = len(items) == limit
        if full:
            # Go on with the last item's millisecond, whose other items may be on the next page.
            last = items[-1].changed_at
            cursor = last + _LATE - (1 if items[0].changed_at < last else 0)
        return items, cursor, full

    def write(self, puts: Sequence[Put]) -> bool:
        """Write all of ``puts`` or none; False if one was changed since it was read."""
        if not puts:
            return True
        if len(puts) == 1:
            return conditional(lambda: _item(puts[0].binding).save(condition=_unchanged(puts[0])))
        try:
            with TransactWrite(connection=Connection(region=BindingItem.Meta.region)) as transaction:
                for put in puts:
                    transaction.save(_item(put.binding), condition=_unchanged(put))
        except TransactWriteError as error:
            if error.cause_response_code == "TransactionCanceledException" and not _unwritable(error):
                return False
            raise
        return True

    def remove(self, puts: Sequence[Put], feed: Feed, change: Change, now: float) -> bool:
        """Write tombstones and record it in the change feed, all or none; False if one was changed since it was
        read."""
        writes: list[Write] = [_save(put) for put in puts]
        try:
            feed.append(change, now, writes)
        except Conflict:
            return False
        return True


def _unwritable(error: TransactWriteError) -> bool:
    """Whether an item can't be written at all, however often one tries."""
    return any(reason is not None and reason.code == "ValidationError" for reason in error.cancellation_reasons)


def _save(put: Put) -> Write:
    return lambda transaction: transaction.save(_item(put.binding), condition=_unchanged(put))


def _unchanged(put: Put) -> Condition:
    if put.seen is None:
        return BindingItem.aor.does_not_exist()
    return BindingItem.revision == put.seen


def _item(value: StoredBinding) -> BindingItem:
    address, port, transport, host, remote_port, connection = value.flow
    return BindingItem(
        aor=value.aor,
        sk=f"{value.key}#{address}",
        key=value.key,
        id=value.id,
        address=address,
        port=port,
        transport=transport,
        host=host,
        remote_port=remote_port,
        connection=connection,
        contact=value.contact,
        call_id=value.call_id,
        cseq=value.cseq,
        registered_at=value.registered_at,
        changed_at=value.changed_at,
        expires_at=round(value.expires_at),
        revision=value.revision,
        tenant=value.tenant,
        q=value.q,
        instance=value.instance,
        reg_id=value.reg_id,
        user_agent=value.user_agent,
        removed=value.removed,
        ttl=round(max(value.expires_at, value.changed_at / 1000)) + KEEP_REMOVED,
    )


def _value(item: BindingItem) -> StoredBinding:
    return StoredBinding(
        aor=item.aor,
        key=item.key,
        flow=(
            item.address,
            int(item.port),
            item.transport,
            item.host,
            int(item.remote_port),
            int(item.connection),
        ),
        contact=item.contact,
        call_id=item.call_id,
        cseq=int(item.cseq),
        registered_at=int(item.registered_at),
        changed_at=int(item.changed_at),
        expires_at=float(item.expires_at),
        revision=item.revision,
        tenant=item.tenant,
        q=int(item.q),
        instance=item.instance,
        reg_id=int(item.reg_id),
        user_agent=item.user_agent,
        removed=item.removed,
    )
