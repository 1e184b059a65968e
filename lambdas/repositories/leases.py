"""The leases table, with botocore: PynamoDB doesn't give back the item that failed a condition, and on AWS the table
is strongly consistent between Regions, with conflicts of its own to retry."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from lambdas.repositories.models import PREFIX

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LEASE_SECONDS = 10.0
_SKEW = 2.0  # seconds that clocks of the control plane may differ
_TRIES = 4
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds an edge address. ``expires_at`` is in seconds of the control plane's clock."""

    address: str
    holder: str
    boot: str
    epoch: int
    expires_at: float
    mesh: str
    certificate: str


class Leases:
    """Acquiring, renewing and listing leases on edge addresses."""

    def __init__(self) -> None:
        config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
        self._client: DynamoDBClient = boto3.client("dynamodb", config=config)
        self._table = f"{PREFIX}-leases"

    def hold(self, wanted: Lease, now: float) -> Lease | str:
        """Renew or acquire ``wanted`` (its epoch is ignored): the lease held now, or why not.

        A lease that another edge let run out is free once its clock could not show it valid anywhere. The epoch
        grows with each new holder or start of one, and never goes back even if the table is made anew.
        """
        renewed = _retry(lambda: self._renew(wanted, now))
        return renewed or _retry(lambda: self._acquire(wanted, now))

    def _renew(self, wanted: Lease, now: float) -> Lease | None:
        values = {
            ":holder": {"S": wanted.holder},
            ":boot": {"S": wanted.boot},
            ":now": {"N": str(now)},
            ":until": {"N": str(now + LEASE_SECONDS)},
            ":mesh": {"S": wanted.mesh},
            ":certificate": {"S": wanted.certificate},
        }
        try:
            reply = self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"ADDRESS#{wanted.address}"}},
                UpdateExpression="SET expires_at = :until, mesh = :mesh, certificate = :certificate",
                ConditionExpression="holder = :holder AND boot = :boot AND expires_at > :now",
                ExpressionAttributeValues=values,
                ReturnValues="ALL_NEW",
            )
        except ClientError as error:
            if _code(error) == "ConditionalCheckFailedException":
                return None
            raise
        return _lease(reply["Attributes"])

    def _acquire(self, wanted: Lease, now: float) -> Lease | str:
        key = f"ADDRESS#{wanted.address}"
        found = self._client.get_item(TableName=self._table, Key={"pk": {"S": key}}, ConsistentRead=True).get("Item")
        old = _lease(found) if found else None
        if old is not None and old.holder != wanted.holder and old.expires_at + _SKEW > now:
            return f"{wanted.address} is held by edge {old.holder}"
        epoch = max(old.epoch + 1 if old else 0, int(now))
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if old is not None:
            condition = {
                "ConditionExpression": "epoch = :epoch",
                "ExpressionAttributeValues": {":epoch": {"N": str(old.epoch)}},
            }
        try:
            self._client.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": key},
                    "address": {"S": wanted.address},
                    "holder": {"S": wanted.holder},
                    "boot": {"S": wanted.boot},
                    "epoch": {"N": str(epoch)},
                    "expires_at": {"N": str(now + LEASE_SECONDS)},
                    "mesh": {"S": wanted.mesh},
                    "certificate": {"S": wanted.certificate},
                },
                **condition,
            )
        except ClientError as error:
            if _code(error) == "ConditionalCheckFailedException":
                return f"{wanted.address} was taken by another edge just now"
            raise
        return Lease(
            wanted.address, wanted.holder, wanted.boot, epoch, now + LEASE_SECONDS, wanted.mesh, wanted.certificate
        )

    def all(self) -> list[Lease]:
        """Every lease, run out or not; there are as many as edge addresses, so one page is enough for hundreds."""
        found: list[Lease] = []
        start: dict[str, Any] = {}
        while True:
            page = self._client.scan(TableName=self._table, **start)
            found += [_lease(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        return found


def _lease(item: Any) -> Lease:
    return Lease(
        address=item["address"]["S"],
        holder=item["holder"]["S"],
        boot=item["boot"]["S"],
        epoch=int(item["epoch"]["N"]),
        expires_at=float(item["expires_at"]["N"]),
        mesh=item["mesh"]["S"],
        certificate=item["certificate"]["S"],
    )


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _retry(write: Callable[[], _Result]) -> _Result:
    """Two Regions writing one item at once: DynamoDB refuses one and says to try again."""
    for attempt in range(1, _TRIES):
        try:
            return write()
        except ClientError as error:
            if _code(error) != "ReplicatedWriteConflictException":
                raise
            time.sleep(0.05 * attempt)
    return write()
