"""``scripts/restore``: rehearse a restore of the directory, and compare it with what is there now.

The table is restored to a *new* name: an existing one is refused, and nothing is deleted or overwritten. What has
changed since the point in time shows up as different; on a quiet table nothing does.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections import Counter
from typing import Annotated, Any

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError

from lambdas.aws_access import NoRegion, in_words, take_region

_WAIT = 3600  # seconds: AWS takes minutes even for small tables


def restore(
    source: Annotated[str, typer.Option(help="The table to restore.")] = "sipwizard-directory",
    target: Annotated[
        str, typer.Option(help="The new table's name; made from the source's and the time if left out.")
    ] = "",
    at: Annotated[str, typer.Option(help="The point in time, as 2026-01-31T12:00:00Z; the latest if left out.")] = "",
    backup: Annotated[str, typer.Option(help="ARN of a backup to restore instead of a point in time.")] = "",
    endpoint: Annotated[str | None, typer.Option(help="A DynamoDB-compatible endpoint; AWS's own if left out.")] = None,
) -> None:
    """Restore SOURCE to a new table and verify it. Ends with status 1 if something is missing."""
    try:
        take_region()
        client: Any = boto3.client("dynamodb", endpoint_url=endpoint)
    except (BotoCoreError, NoRegion) as error:
        raise SystemExit(f"restore: {error}") from error
    target = target or f"{source}-restored-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    try:
        _say(f"point-in-time recovery of {source}: {_recovery(client, source)}")
        if _exists(client, target):
            raise SystemExit(f"restore: {target} exists already; name another --target, nothing was changed")
        _begin(client, source, target, at, backup)
        client.get_waiter("table_exists").wait(TableName=target, WaiterConfig={"Delay": 2, "MaxAttempts": _WAIT // 2})
        before, after = _items(client, source), _items(client, target)
        schemas = [client.describe_table(TableName=name)["Table"] for name in (source, target)]
    except (BotoCoreError, ClientError) as error:
        raise SystemExit(f"restore: {in_words(error) or error}") from error
    _say(f"restored to {target}: {len(after)} items; {source} has {len(before)} now")
    for what in ("KeySchema", "AttributeDefinitions"):
        if _sorted(schemas[0].get(what)) != _sorted(schemas[1].get(what)):
            raise SystemExit(f"restore: {what} of {target} is not that of {source}")
    indexes = [{index["IndexName"] for index in schema.get("GlobalSecondaryIndexes", [])} for schema in schemas]
    if indexes[0] - indexes[1]:
        raise SystemExit(f"restore: {target} lacks the indexes {sorted(indexes[0] - indexes[1])}")
    missing = before.keys() - after.keys()
    different = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    _tell("only in the restored table", after.keys() - before.keys(), after)
    _tell("different", different, before)
    _tell("missing", missing, before)
    _say(f"{target} stays; look at it, then remove it yourself: aws dynamodb delete-table --table-name {target}")
    if missing:
        _say("restore: what is missing was made after the point in time, or is lost")
        sys.exit(1)


def _begin(client: Any, source: str, target: str, at: str, backup: str) -> None:
    if backup:
        client.restore_table_from_backup(TargetTableName=target, BackupArn=backup)
        _say(f"restoring backup {backup}")
        return
    moment: dict[str, Any] = {"UseLatestRestorableTime": True}
    if at:
        moment = {"RestoreDateTime": datetime.datetime.fromisoformat(at.replace("Z", "+00:00"))}
    client.restore_table_to_point_in_time(SourceTableName=source, TargetTableName=target, **moment)
    _say(f"restoring {source} as of {at or 'the latest restorable time'}")


def _recovery(client: Any, table: str) -> str:
    described = client.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    found = described.get("PointInTimeRecoveryDescription", {})
    status = str(found.get("PointInTimeRecoveryStatus", "unknown"))
    return (
        f"{status}, from {found.get('EarliestRestorableDateTime', '?')} to {found.get('LatestRestorableDateTime', '?')}"
    )


def _exists(client: Any, table: str) -> bool:
    try:
        client.describe_table(TableName=table)
    except client.exceptions.ResourceNotFoundException:
        return False
    return True


def _items(client: Any, table: str) -> dict[str, Any]:
    """Every item by its key. The change feeds move all the time, and aren't what is restored."""
    found = {}
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        for item in page["Items"]:
            if not item["pk"]["S"].startswith("FEED"):
                found[f"{item['pk']['S']} {item['sk']['S']}"] = item
    return found


def _tell(what: str, keys: set[str], items: dict[str, Any]) -> None:
    kinds = Counter(items[key].get("kind", items[key].get("cls", {"S": "?"}))["S"] for key in keys)
    _say(
        f"{what}: {len(keys)}"
        + (f" ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})" if kinds else "")
    )


def _sorted(value: Any) -> str:
    return json.dumps(sorted(value or [], key=lambda part: part["AttributeName"]), sort_keys=True)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    typer.run(restore)
