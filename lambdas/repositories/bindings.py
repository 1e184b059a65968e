"""The bindings table."""

from __future__ import annotations

from collections.abc import Sequence

from pynamodb.exceptions import TransactWriteError
from pynamodb.expressions.condition import Condition

from lambdas.contract import Change
from lambdas.decisions.values import Put, StoredBinding
from lambdas.repositories.connection import transaction
from lambdas.repositories.feed import Feed, FeedConflict
from lambdas.repositories.models import BindingItem
from lambdas.repositories.transactions import Write, conditional

KEEP_REMOVED = 3600  # seconds that a removed or expired item stays, to win over a REGISTER that is still under way
_LATE = 10_000  # milliseconds: how far apart the control plane's clocks and the index's delay may bring two changes

_FLOW = ("address", "port", "transport", "host", "remote_port", "connection")
"""What the parts of a flow are called in an item."""


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
            with transaction() as together:
                for put in puts:
                    together.save(_item(put.binding), condition=_unchanged(put))
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
        except FeedConflict:
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
    """Flat: its flow's parts have attributes of their own, since an index goes by the address."""
    said = value.model_dump(exclude={"flow", "expires_at", "doubted_at", "path", "push"})
    said |= dict(zip(_FLOW, value.flow, strict=True))
    return BindingItem(
        sk=f"{value.key}#{value.address}",
        id=value.id,
        expires_at=round(value.expires_at),
        ttl=round(max(value.expires_at, value.changed_at / 1000)) + KEEP_REMOVED,
        doubted_at=value.doubted_at or None,
        path=value.path or None,
        push=value.push.model_dump() if value.push is not None else None,
        **said,
    )


def _value(item: BindingItem) -> StoredBinding:
    flow = tuple(getattr(item, name) for name in _FLOW)
    return StoredBinding.model_validate({**item.attribute_values, "flow": flow})
