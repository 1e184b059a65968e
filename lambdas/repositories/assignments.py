"""Assignments of provider accounts to edge addresses, in the leases table: strongly consistent between Regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lambdas.decisions.assignment import Assignment
from lambdas.decisions.lease import Refused
from lambdas.repositories.dynamodb import DynamoDB
from lambdas.repositories.leases import get, put_if, retry
from lambdas.repositories.models import PREFIX

_INDEX = "by-assigned"
_RACES = 4
_TRANSPORTS = ("udp", "tcp")


class Assignments:
    """Reads and conditional writes."""

    def __init__(self, client: DynamoDB) -> None:
        self._client = client
        self._table = f"{PREFIX}-leases"

    def get(self, provider: str) -> Assignment | None:
        found = self._read(provider)
        return _assignment(found) if found else None

    def of(self, address: str, limit: int, after: str = "") -> tuple[list[str], str]:
        """Accounts assigned to ``address``, and what the next page comes after ("" at the end). The index may lag
        behind by a moment; claims are what counts."""
        start = {"ExclusiveStartKey": {**_key(after), "assigned": {"S": address}}} if after else {}
        page = self._page(address, {"Limit": limit, **start})
        names = [item["pk"]["S"].partition("#")[2] for item in page["Items"]]
        return names, names[-1] if "LastEvaluatedKey" in page and names else ""

    def count(self, address: str) -> int:
        """How many are assigned to ``address``."""
        total = 0
        start: dict[str, Any] = {}
        while True:
            page = self._page(address, {"Select": "COUNT", **start})
            total += int(page["Count"])
            if "LastEvaluatedKey" not in page:
                return total
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _page(self, address: str, more: dict[str, Any]) -> dict[str, Any]:
        request = {
            "TableName": self._table,
            "IndexName": _INDEX,
            "KeyConditionExpression": "assigned = :address",
            "ExpressionAttributeValues": {":address": {"S": address}},
            **more,
        }
        return self._client.call("Query", request)

    def create(self, assignment: Assignment) -> None:
        """Where there is one already, it stays."""
        self._put(assignment, None)

    def change(self, provider: str, rule: Callable[[Assignment | None], Assignment | Refused]) -> Assignment | Refused:
        """Read, apply ``rule``, write its result if nobody came between; else read again."""
        for _ in range(_RACES):
            found = self._read(provider)
            old = _assignment(found) if found else None
            wanted = rule(old)
            if isinstance(wanted, Refused) or wanted == old:
                return wanted
            if self._put(wanted, old):
                return wanted
        return Refused(f"{provider} is changed by several edges just now")

    def delete(self, provider: str) -> None:
        retry(lambda: self._client.call("DeleteItem", {"TableName": self._table, "Key": _key(provider)}))

    def _read(self, provider: str) -> Any:
        return get(self._client, self._table, _key(provider))

    def _put(self, new: Assignment, old: Assignment | None) -> bool:
        item: dict[str, Any] = {
            **_key(new.provider),
            "assigned": {"S": new.address},
            "claimed": {"N": str(new.claimed)},
            **{name: {"N": str(port)} for name, port in (new.ports or {}).items() if name in _TRANSPORTS},
        }
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if old is not None:
            condition = {
                "ConditionExpression": "assigned = :address AND claimed = :claimed",
                "ExpressionAttributeValues": {":address": {"S": old.address}, ":claimed": {"N": str(old.claimed)}},
            }

        return retry(lambda: put_if(self._client, self._table, item, condition))


def _key(provider: str) -> Any:
    return {"pk": {"S": f"PROVIDER#{provider}"}}


def _assignment(item: Any) -> Assignment:
    return Assignment(
        provider=item["pk"]["S"].partition("#")[2],
        address=item["assigned"]["S"],
        claimed=int(item["claimed"]["N"]),
        ports={name: int(item[name]["N"]) for name in _TRANSPORTS if name in item},
    )
