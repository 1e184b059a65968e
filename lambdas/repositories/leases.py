"""The leases table, without PynamoDB: it knows nothing of a table that is strongly consistent between Regions, as this
one is on AWS, with conflicts of its own to retry."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from lambdas.decisions.lease import LEASE_SECONDS, Lease, LeaseEdge, Refused
from lambdas.repositories.connection import Common
from lambdas.repositories.dynamodb import DynamoDB
from lambdas.repositories.models import PREFIX

_TRIES = 4
_RACES = 4
_BATCH = 100  # items that DynamoDB gives at once
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Presence:
    """An edge that lives and holds nothing: ``wants`` are the addresses it would like. ``expires_at`` as a lease's."""

    edge: str
    boot: str
    mesh: str
    certificate: str
    wants: tuple[str, ...]
    expires_at: float
    listen: tuple[str, ...] = ()


class Leases:
    """Acquiring, renewing and listing leases on edge addresses."""

    def __init__(self, client: DynamoDB) -> None:
        self._client = client
        self._table = f"{PREFIX}-leases"

    def renew(self, address: str, edge: LeaseEdge, placed: bool, now: float) -> Lease | None:
        """Renew in one write; None if the edge doesn't hold ``address``. ``placed``: it has told that the address has
        moved."""
        update = (
            "SET expires_at = :until, mesh = :mesh, certificate = :certificate, #region = :region, listen = :listen, "
            "media = :media"
        )
        values: dict[str, Any] = {
            ":holder": {"S": edge.id},
            ":boot": {"S": edge.boot},
            ":now": {"N": str(now)},
            ":until": {"N": str(now + LEASE_SECONDS)},
            ":mesh": {"S": edge.mesh},
            ":certificate": {"S": edge.certificate},
            ":region": {"S": edge.region},
            ":listen": _texts(edge.listen),
            ":media": {"BOOL": edge.media},
        }
        if placed:
            update += ", placed = :placed"
            values[":placed"] = {"BOOL": True}

        def write() -> Lease | None:
            try:
                reply = self._client.call(
                    "UpdateItem",
                    {
                        "TableName": self._table,
                        "Key": _key(address),
                        "UpdateExpression": update,
                        "ConditionExpression": "holder = :holder AND boot = :boot AND expires_at > :now",
                        "ExpressionAttributeNames": {"#region": "region"},
                        "ExpressionAttributeValues": values,
                        "ReturnValues": "ALL_NEW",
                    },
                )
            except ClientError as error:
                if code(error) == "ConditionalCheckFailedException":
                    return None
                raise
            return _lease(reply["Attributes"])

        return retry(write)

    def change(self, address: str, rule: Callable[[Lease | None], Lease | Refused]) -> Lease | Refused:
        """Read the lease, apply ``rule``, write its result if nobody came between; else read again."""
        for _ in range(_RACES):
            found = self._read(address)
            wanted = rule(_lease(found) if found else None)
            if isinstance(wanted, Refused):
                return wanted
            if retry(partial(self._put, wanted, found)):
                return wanted
        return Refused(f"{address} is asked for by several edges just now")

    def get(self, address: str) -> Lease | None:
        """The lease as it is now, wherever it was written."""
        found = self._read(address)
        return _lease(found) if found else None

    def _read(self, address: str) -> Any:
        return get(self._client, self._table, _key(address))

    def _put(self, lease: Lease, found: Any) -> bool:
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if found:
            # Every write changes one of the two.
            condition = {
                "ConditionExpression": "epoch = :epoch AND expires_at = :expires_at",
                "ExpressionAttributeValues": {":epoch": found["epoch"], ":expires_at": found["expires_at"]},
            }
        item: dict[str, Any] = {
            **_key(lease.address),
            "address": {"S": lease.address},
            "holder": {"S": lease.holder},
            "boot": {"S": lease.boot},
            "epoch": {"N": str(lease.epoch)},
            "expires_at": {"N": str(lease.expires_at)},
            "mesh": {"S": lease.mesh},
            "certificate": {"S": lease.certificate},
            "placed": {"BOOL": lease.placed},
            "exclusive_at": {"N": str(lease.exclusive_at)},
            "region": {"S": lease.region},
            "spoken": {"N": str(lease.spoken)},
            "older_until": {"N": str(lease.older_until)},
            "listen": _texts(lease.listen),
            "media": {"BOOL": lease.media},
        }
        return put_if(self._client, self._table, item, condition)

    def note(self, presence: Presence) -> None:
        """An edge that holds nothing lives all the same: its peers must know where."""
        item: dict[str, Any] = {
            **_presence_key(presence.edge),
            "edge": {"S": presence.edge},
            "boot": {"S": presence.boot},
            "mesh": {"S": presence.mesh},
            "certificate": {"S": presence.certificate},
            "wants": _texts(presence.wants),
            "listen": _texts(presence.listen),
            "expires_at": {"N": str(presence.expires_at)},
        }
        retry(lambda: self._client.call("PutItem", {"TableName": self._table, "Item": item}))

    def once(self, name: str, value: str) -> str:
        """``value``, or what another process in any Region has said first: only this table has one truth for all."""
        key = {"pk": {"S": f"ONCE#{name}"}}
        absent = {"ConditionExpression": "attribute_not_exists(pk)"}
        if retry(lambda: put_if(self._client, self._table, {**key, "value": {"S": value}}, absent)):
            return value
        return str(get(self._client, self._table, key)["value"]["S"])

    def all(self, addresses: Collection[str], edges: Collection[str]) -> tuple[list[Lease], list[Presence]]:
        """The leases on ``addresses`` and the presences of ``edges``, run out or not."""
        keys = [_key(address) for address in addresses] + [_presence_key(edge) for edge in edges]
        items: list[Any] = []
        while keys:
            batch, keys = keys[:_BATCH], keys[_BATCH:]
            wanted = {self._table: {"Keys": batch, "ConsistentRead": True}}
            page = self._client.call("BatchGetItem", {"RequestItems": wanted})
            items += page["Responses"].get(self._table, [])
            keys += page.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
        return (
            [_lease(item) for item in items if item["pk"]["S"].startswith("ADDRESS#")],
            [_presence(item) for item in items if item["pk"]["S"].startswith("EDGE#")],
        )


def get(client: DynamoDB, table: str, key: Any) -> Any:
    """The item as it is now, wherever it was written; None if there is none."""
    request = {"TableName": table, "Key": key, "ConsistentRead": True}
    return client.call("GetItem", request).get("Item")


def put_if(client: DynamoDB, table: str, item: Any, condition: dict[str, Any]) -> bool:
    """Write an item; False if ``condition`` (arguments of PutItem) doesn't hold."""
    try:
        client.call("PutItem", {"TableName": table, "Item": item, **condition})
    except ClientError as error:
        if code(error) == "ConditionalCheckFailedException":
            return False
        raise
    return True


def lease_client() -> DynamoDB:
    """A client for the leases table."""
    # Where two Regions are tried out on one machine, this table is the one that both share.
    endpoint = os.environ.get("LEASES_ENDPOINT_URL", "")
    return DynamoDB("us-east-1" if endpoint else Common.region, endpoint, attempts=2)


def _key(address: str) -> Any:
    return {"pk": {"S": f"ADDRESS#{address}"}}


def _presence_key(edge: str) -> Any:
    return {"pk": {"S": f"EDGE#{edge}"}}


def _presence(item: Any) -> Presence:
    return Presence(
        edge=item["edge"]["S"],
        boot=item["boot"]["S"],
        mesh=item["mesh"]["S"],
        certificate=item["certificate"]["S"],
        wants=_read_texts(item, "wants"),
        expires_at=float(item["expires_at"]["N"]),
        listen=_read_texts(item, "listen"),
    )


def _lease(item: Any) -> Lease:
    return Lease(
        address=item["address"]["S"],
        holder=item["holder"]["S"],
        boot=item["boot"]["S"],
        epoch=int(item["epoch"]["N"]),
        expires_at=float(item["expires_at"]["N"]),
        mesh=item["mesh"]["S"],
        certificate=item["certificate"]["S"],
        placed=item.get("placed", {"BOOL": True})["BOOL"],
        exclusive_at=float(item.get("exclusive_at", {"N": "0"})["N"]),
        region=item.get("region", {"S": ""})["S"],
        spoken=int(item.get("spoken", {"N": "6"})["N"]),  # as of before it was told
        older_until=float(item.get("older_until", {"N": "0"})["N"]),
        listen=_read_texts(item, "listen"),
        media=item.get("media", {"BOOL": False})["BOOL"],
    )


def _texts(values: Collection[str]) -> Any:
    return {"L": [{"S": value} for value in values]}


def _read_texts(item: Any, name: str) -> tuple[str, ...]:
    return tuple(value["S"] for value in item.get(name, {"L": []})["L"])


def code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def retry(write: Callable[[], _Result]) -> _Result:
    """Two Regions writing one item at once: DynamoDB refuses one and says to try again."""
    for attempt in range(1, _TRIES):
        try:
            return write()
        except ClientError as error:
            if code(error) != "ReplicatedWriteConflictException":
                raise
            time.sleep(0.05 * attempt)
    return write()
