"""The double of IAM refuses what AWS would: else every integration test that runs under it would prove nothing."""

from __future__ import annotations

import pytest

from tests.support.permissions import accesses, policies

POLICIES = policies()
DIRECTORY, CALLS = "sipwizard-directory", "sipwizard-calls"


def allowed(function, operation, request, service="dynamodb"):
    asked = list(accesses(service, operation, request))
    assert asked
    return all(any(statement.allows(access) for statement in POLICIES[function]) for access in asked)


def item(table, pk, **more):
    return {"TableName": table, "Key": {"pk": {"S": pk}, "sk": {"S": "x"}}, **more}


def update(pk, attribute):
    return item(
        DIRECTORY, pk, UpdateExpression="SET #0 = :0 REMOVE suspended", ExpressionAttributeNames={"#0": attribute}
    )


@pytest.mark.parametrize(
    ("function", "operation", "request_", "expected"),
    [
        ("DecisionsFunction", "GetItem", item(DIRECTORY, "AOR#a@b"), True),
        ("DecisionsFunction", "DeleteItem", item(DIRECTORY, "AOR#a@b"), False),
        ("DecisionsFunction", "UpdateItem", update("AOR#a@b", "version"), True),
        ("DecisionsFunction", "UpdateItem", update("AOR#a@b", "ha1_md5"), False),
        ("DecisionsFunction", "UpdateItem", update("TENANT#t", "version"), False),
        ("StatusFunction", "GetItem", item(DIRECTORY, "AOR#a@b"), False),
        ("HooksFunction", "GetItem", item(DIRECTORY, "HOOK#t"), True),
        ("HooksFunction", "GetItem", item(DIRECTORY, "AOR#a@b"), False),
        ("ProvisioningFunction", "DeleteItem", item(DIRECTORY, "AOR#a@b"), True),
        ("ProvisioningFunction", "DeleteItem", item(CALLS, "t#2026-11-25"), False),
    ],
)
def test_one_item(function, operation, request_, expected):
    assert allowed(function, operation, request_) is expected


def test_a_query_is_held_to_the_partition_it_reads():
    def query(pk):
        return {
            "TableName": CALLS,
            "KeyConditionExpression": "#0 = :0 AND begins_with (#1, :1)",
            "ExpressionAttributeNames": {"#0": "pk", "#1": "sk"},
            "ExpressionAttributeValues": {":0": {"S": pk}, ":1": {"S": "x"}},
        }

    assert allowed("StatusFunction", "Query", query("probes#2026-11-25"))
    assert not allowed("StatusFunction", "Query", query("t123#2026-11-25"))


def test_each_part_of_a_transaction_counts():
    ban = {"Put": {"TableName": DIRECTORY, "Item": {"pk": {"S": "BAN#192.0.2.1"}, "sk": {"S": "x"}}}}
    account = {"Put": {"TableName": DIRECTORY, "Item": {"pk": {"S": "AOR#a@b"}, "sk": {"S": "x"}}}}
    assert allowed("DecisionsFunction", "TransactWriteItems", {"TransactItems": [ban]})
    assert not allowed("DecisionsFunction", "TransactWriteItems", {"TransactItems": [ban, account]})


def test_other_services():
    assert allowed("ProvisioningFunction", "SendEmail", {}, "sesv2")
    assert allowed("ProvisioningFunction", "Encrypt", {}, "kms")
    assert not allowed("ProvisioningFunction", "Decrypt", {}, "kms")
