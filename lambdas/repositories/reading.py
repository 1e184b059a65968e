"""Items by their keys, of several tables, in one request: each request takes longer than the item that it brings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lambdas.repositories.connection import Item, dynamodb
from lambdas.repositories.transactions import Busy, pause

_BATCH = 100  # items that DynamoDB gives at once
_TRIES = 4  # to get what it was too busy for
Raw = dict[str, dict[str, Any]]
"""An item as DynamoDB sends it: each attribute's value by its type."""


@dataclass(frozen=True, slots=True)
class ItemKey:
    """Of an item in the table of ``kind``."""

    kind: type[Item]
    pk: str
    sk: str


def read(keys: Iterable[ItemKey]) -> dict[ItemKey, Raw]:
    """Those that there are, read consistently within the Region. Raises Busy if DynamoDB doesn't give all of them."""
    wanted = {(key.kind.Meta.table_name, key.pk, key.sk): key for key in keys}
    left, found, tries = list(wanted), dict[ItemKey, Raw](), 0
    while left:
        batch, left = left[:_BATCH], left[_BATCH:]
        asked: dict[str, Any] = {}
        for table, pk, sk in batch:
            of_table = asked.setdefault(table, {"Keys": [], "ConsistentRead": True})
            of_table["Keys"].append({"pk": {"S": pk}, "sk": {"S": sk}})
        page = dynamodb().call("BatchGetItem", {"RequestItems": asked})
        for table, items in page["Responses"].items():
            found |= {wanted[table, item["pk"]["S"], item["sk"]["S"]]: item for item in items}
        unread = page.get("UnprocessedKeys", {})
        left += [(table, key["pk"]["S"], key["sk"]["S"]) for table, one in unread.items() for key in one["Keys"]]
        if unread:
            if tries == _TRIES:
                raise Busy
            pause(tries)
            tries += 1
    return found
