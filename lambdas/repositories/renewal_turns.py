"""Whose turn it is to renew certificates, in the leases table: strongly consistent between Regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lambdas.decisions.certificates import RenewalTurn
from lambdas.repositories.dynamodb import DynamoDB
from lambdas.repositories.leases import get, put_if, retry
from lambdas.repositories.models import PREFIX

_KEY: Any = {"pk": {"S": "WORK#certificates"}}


class RenewalTurns:
    """One item."""

    def __init__(self, client: DynamoDB) -> None:
        self._client = client
        self._table = f"{PREFIX}-leases"

    def change(self, rule: Callable[[RenewalTurn | None], RenewalTurn | None]) -> bool:
        """Write what ``rule`` makes of it; False if that is None, or somebody else has written meanwhile."""
        found = get(self._client, self._table, _KEY)
        wanted = rule(_turn(found) if found else None)
        if wanted is None:
            return False
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if found:
            condition = {
                "ConditionExpression": "run = :run AND running_until = :until",
                "ExpressionAttributeValues": {":run": found["run"], ":until": found["running_until"]},
            }
        item = {
            **_KEY,
            "region": {"S": wanted.region},
            "until": {"N": str(wanted.until)},
            "run": {"S": wanted.run},
            "running_until": {"N": str(wanted.running_until)},
        }
        return retry(lambda: put_if(self._client, self._table, item, condition))


def _turn(item: Any) -> RenewalTurn:
    return RenewalTurn(
        item["region"]["S"], float(item["until"]["N"]), item["run"]["S"], float(item["running_until"]["N"])
    )
