"""``python -m tests.support.permissions``: the control plane as ``python -m lambdas`` serves it, each request held to
the policies that ``template.yaml`` gives the function that would have answered it. MiniStack enforces none.

What isn't allowed is refused as AWS refuses it (AccessDeniedException) and written to the log. Conditions are known for
DynamoDB (leading keys and attributes), KMS (the kind of secret) and Route 53 (records) only. Of other services the
action is checked, not the resource.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import uvicorn
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from lambdas import __main__ as served
from lambdas.repositories.dynamodb import DynamoDB
from scripts.fleet_parts import PREFIX
from scripts.tables import load_template, table_definitions

REFUSED = "is not authorized to perform"
# SAM gives a function whose events come from a queue these by itself; here its thread asks for the messages.
_SAME = {"sqs:SendMessageBatch": "sqs:SendMessage"}  # IAM has one permission for both
_POLLING = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
_WRITES = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
_EXPRESSIONS = ("ConditionExpression", "FilterExpression", "KeyConditionExpression", "ProjectionExpression")
_NAME = re.compile(r"(?<![\w.:#])(?:#\w+|[A-Za-z_]\w*)")  # the first of a path, no value, no number
_SYNTAX = {"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "BETWEEN", "IN"}
_SYNTAX |= {"attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains", "size"}
_SYNTAX |= {"if_not_exists", "list_append"}


@dataclass(frozen=True)
class Access:
    """What one operation does to one item or index: ``keys`` are the partition keys it names, ``kinds`` the kind of
    secret; ``records`` the names, types and actions of changes of records."""

    action: str
    table: str = ""
    keys: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    records: tuple[frozenset[str], frozenset[str], frozenset[str]] = (frozenset(), frozenset(), frozenset())


@dataclass(frozen=True)
class Statement:
    effect: str
    actions: frozenset[str]
    tables: tuple[str, ...]
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]  # (operator, condition key, patterns)

    def holds(self, access: Access) -> bool:
        if access.action not in self.actions:
            return False
        if access.action.startswith("dynamodb:") and not any(fnmatchcase(access.table, one) for one in self.tables):
            return False
        values = {
            "dynamodb:LeadingKeys": access.keys,
            "dynamodb:Attributes": access.attributes,
            "kms:EncryptionContext:kind": access.kinds,
            "route53:ChangeResourceRecordSetsNormalizedRecordNames": access.records[0],
            "route53:ChangeResourceRecordSetsRecordTypes": access.records[1],
            "route53:ChangeResourceRecordSetsActions": access.records[2],
        }
        return all(_fulfilled(operator, values.get(name), patterns) for operator, name, patterns in self.conditions)


def _fulfilled(operator: str, values: frozenset[str] | None, patterns: tuple[str, ...]) -> bool:
    """As IAM has it for a key with any number of values; what isn't known here is."""
    if values is None:
        return True
    matches = [any(fnmatchcase(value, pattern) for pattern in patterns) for value in values]
    if operator == "Null":
        return bool(values) is (patterns == ("false",))
    if operator.startswith("ForAnyValue:"):
        return any(matches)
    if operator.startswith("ForAllValues:") or operator.endswith("IfExists"):
        return all(matches)
    return bool(matches) and all(matches)


def permits(statements: list[Statement], access: Access) -> bool:
    """Whether one of them allows it, and none denies it."""
    effects = {statement.effect for statement in statements if statement.holds(access)}
    return effects == {"Allow"}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    text = value["Sub"] if isinstance(value, dict) and "Sub" in value else str(value)
    return text.replace("${AWS::Region}", os.environ.get("AWS_DEFAULT_REGION", "")).replace("${TablePrefix}", PREFIX)


def _statement(made: dict[str, Any]) -> Statement:
    conditions = [
        (operator, name, tuple(_text(value) for value in _listed(values)))
        for operator, condition in made.get("Condition", {}).items()
        for name, values in condition.items()
    ]
    tables = [_text(resource).rpartition(":table/")[2] for resource in _listed(made["Resource"])]
    return Statement(made["Effect"], frozenset(_listed(made["Action"])), tuple(tables), tuple(conditions))


def policies() -> dict[str, list[Statement]]:
    """What the template allows and denies each of its functions, with every choice of its own taken."""
    found: dict[str, list[Statement]] = {}
    for name, resource in load_template()["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            stated = [one for policy in resource["Properties"]["Policies"] for one in policy["Statement"]]
            found[name] = [_statement(one["If"][1] if "If" in one else one) for one in stated]
    for name in ("HooksFunction", "PushFunction"):
        found[name].append(Statement("Allow", frozenset(_POLLING), (), ()))
    return found


@functools.cache
def _partition_keys() -> dict[str, str]:
    """Of each table and index, by the last part of its ARN."""
    found = {}
    for table in table_definitions(PREFIX):
        name = table["TableName"]
        schemas = [(name, table["KeySchema"])]
        schemas += [(f"{name}/index/{one['IndexName']}", one["KeySchema"]) for one in table["GlobalSecondaryIndexes"]]
        for place, schema in schemas:
            (found[place],) = [part["AttributeName"] for part in schema if part["KeyType"] == "HASH"]
    return found


def _named(request: dict[str, Any]) -> frozenset[str]:
    """The attributes that a request names."""
    aliases = request.get("ExpressionAttributeNames", {})
    expressions = " ".join(request[name] for name in (*_EXPRESSIONS, "UpdateExpression") if name in request)
    words = {aliases.get(word, word) for word in _NAME.findall(expressions)} - _SYNTAX
    return frozenset(words | set(request.get("Key", ())) | set(request.get("Item", ())))


def _one(action: str, request: dict[str, Any]) -> Access:
    table = request["TableName"] + (f"/index/{request['IndexName']}" if "IndexName" in request else "")
    partition = _partition_keys()[table]
    item = request.get("Key") or request.get("Item")
    if item is None:  # a query: the partition key is what an equation gives
        aliases = request.get("ExpressionAttributeNames", {})
        equations = re.findall(r"([\w#]+)\s*=\s*(:\w+)", request.get("KeyConditionExpression", ""))
        item = {aliases.get(name, name): request["ExpressionAttributeValues"][value] for name, value in equations}
    keys = frozenset(str(value) for value in item.get(partition, {}).values())
    return Access(f"dynamodb:{action}", table, keys, _named(request))


def accesses(service: str, operation: str, request: dict[str, Any]) -> Iterator[Access]:
    """What a call of botocore's needs permission for."""
    if service != "dynamodb":
        action = f"{service.removesuffix('v2')}:{operation}"
        kind = request.get("EncryptionContext", {}).get("kind")
        changes = request.get("ChangeBatch", {}).get("Changes", [])
        sets = [change["ResourceRecordSet"] for change in changes]
        records = (
            frozenset(one["Name"].lower().rstrip(".") for one in sets),
            frozenset(one["Type"] for one in sets),
            frozenset(change["Action"] for change in changes),
        )
        yield Access(_SAME.get(action, action), kinds=frozenset([kind] if kind else []), records=records)
    elif operation in ("TransactWriteItems", "TransactGetItems"):
        for part in request["TransactItems"]:
            for kind, one in part.items():
                yield _one(_WRITES.get(kind, "GetItem"), one)
    elif operation == "BatchGetItem":
        for table, wanted in request["RequestItems"].items():
            for key in wanted["Keys"]:
                yield _one(operation, {**wanted, "TableName": table, "Key": key})
    elif operation == "BatchWriteItem":
        for table, parts in request["RequestItems"].items():
            for part in parts:
                for one in part.values():
                    yield _one(operation, {**one, "TableName": table})
    else:
        yield _one(operation, request)


# Who asks, where a request says it.
_function: ContextVar[str] = ContextVar("function")


def _answering(path: str) -> str:
    if path.startswith("/edge/"):
        return "DecisionsFunction"
    return "StatusFunction" if path.startswith("/status") else "ProvisioningFunction"


class _Held:
    """The application, with the function noted that would have answered."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        _function.set(_answering(scope.get("path", "")))
        await self._app(scope, receive, send)


def hold(function: str = "HooksFunction") -> None:
    """From now on clients refuse in this process what the policies don't allow; ``function`` is whatever isn't a
    request's: the thread that delivers to webhooks, for one."""
    allowed = policies()
    others, own = BaseClient._make_api_call, DynamoDB.call

    def check(service: str, operation: str, request: Any) -> None:
        asking = _function.get(function)
        for access in accesses(service, operation, request):
            if not permits(allowed[asking], access):
                text = f"{asking} {REFUSED} {access}"
                print(text, file=sys.stderr, flush=True)
                raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": text}}, operation)

    def of_others(client: Any, operation: str, request: dict[str, Any]) -> Any:
        check(client.meta.service_model.service_name, operation, request)
        return others(client, operation, request)

    def of_ours(client: DynamoDB, operation: str, request: Any) -> dict[str, Any]:
        check("dynamodb", operation, request)
        return own(client, operation, request)

    submit = ThreadPoolExecutor.submit

    def in_context(pool: Any, task: Any, /, *arguments: Any, **named: Any) -> Any:
        return submit(pool, copy_context().run, task, *arguments, **named)

    BaseClient._make_api_call = of_others
    DynamoDB.call = DynamoDB._make_api_call = of_ours
    ThreadPoolExecutor.submit = in_context


def main() -> None:
    run, begin = uvicorn.run, threading.Thread.run

    def begun(thread: threading.Thread) -> None:
        if thread.name == "push":
            _function.set("PushFunction")
        begin(thread)

    threading.Thread.run = begun
    uvicorn.run = lambda app, **settings: run(_Held(app), **settings)
    hold()
    served.main()


if __name__ == "__main__":
    main()
