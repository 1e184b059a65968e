"""The double of IAM refuses what AWS would: else every integration test that runs under it would prove nothing."""

from __future__ import annotations

import pytest

from tests.support.permissions import Access, accesses, permits, policies

POLICIES = policies()
DIRECTORY, CALLS, LEASES = "sipwizard-directory", "sipwizard-calls", "sipwizard-leases"


def allowed(function, operation, request, service="dynamodb"):
    asked = list(accesses(service, operation, request))
    assert asked
    return all(permits(POLICIES[function], access) for access in asked)


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
        ("PushFunction", "GetItem", item(DIRECTORY, "PUSH#t/apns"), True),
        ("PushFunction", "GetItem", item(DIRECTORY, "HOOK#t/crm"), False),
        ("PushFunction", "PutItem", item(DIRECTORY, "PUSH#t/apns"), False),
        ("PushFunction", "PutItem", item(CALLS, "t#events#2026-11-25"), True),
        ("PushFunction", "UpdateItem", item(CALLS, "push#x"), False),
        ("DecisionsFunction", "PutItem", item(DIRECTORY, "PUSH#t/apns"), False),
        ("ProvisioningFunction", "DeleteItem", item(DIRECTORY, "AOR#a@b"), True),
        ("ProvisioningFunction", "DeleteItem", item(CALLS, "t#2026-11-25"), False),
        ("ProvisioningFunction", "GetItem", item(DIRECTORY, "FLEET#secret"), True),
        ("ProvisioningFunction", "PutItem", item(DIRECTORY, "FLEET#secret"), False),
        ("ProvisioningFunction", "DeleteItem", item(DIRECTORY, "FLEET#secret"), False),
        ("DecisionsFunction", "PutItem", item(DIRECTORY, "FLEET#secret"), True),
        ("DecisionsFunction", "PutItem", item(DIRECTORY, "PLACE#t/udp:sip.voip.test:0/account"), True),
        ("DecisionsFunction", "DeleteItem", item(DIRECTORY, "PLACE#t/udp:sip.voip.test:0/account"), False),
        ("DecisionsFunction", "PutItem", item(CALLS, "#events#2026-11-25"), True),
        ("ProvisioningFunction", "DeleteItem", item(DIRECTORY, "PLACE#t/udp:sip.voip.test:0/trunk"), True),
        ("ProvisioningFunction", "UpdateItem", item(DIRECTORY, "STATE#t/voip"), False),
        ("ProvisioningFunction", "DeleteItem", item(DIRECTORY, "STATE#t/voip"), True),
        ("ProvisioningFunction", "PutItem", item(LEASES, "PROVIDER#t/voip"), True),
        ("ProvisioningFunction", "PutItem", item(LEASES, "EDGE#edge-a"), False),
        ("ProvisioningFunction", "DeleteItem", item(LEASES, "ADDRESS#203.0.113.11"), False),
        ("ProvisioningFunction", "DeleteItem", item(LEASES, "ONCE#fleet secret"), False),
        ("ProvisioningFunction", "PutItem", item(DIRECTORY, "NETWORK#198.51.100.0/24"), True),
        ("DecisionsFunction", "PutItem", item(DIRECTORY, "NETWORK#198.51.100.0/24"), False),
        ("ProvisioningFunction", "PutItem", item(DIRECTORY, "RENEWAL#pbx.voip.test"), True),
        ("ProvisioningFunction", "PutItem", item(DIRECTORY, "CERTIFICATE#pbx.voip.test"), False),
        ("ProvisioningFunction", "UpdateItem", item(DIRECTORY, "CERTIFICATE-KEY#pbx.voip.test"), False),
        ("DecisionsFunction", "PutItem", item(DIRECTORY, "CERTIFICATE#pbx.voip.test"), False),
        ("CertificatesFunction", "PutItem", item(DIRECTORY, "CERTIFICATE-KEY#pbx.voip.test"), True),
        ("CertificatesFunction", "GetItem", item(DIRECTORY, "AOR#a@b"), False),
        ("CertificatesFunction", "PutItem", item(DIRECTORY, "FLEET#secret"), False),
        ("CertificatesFunction", "PutItem", item(LEASES, "WORK#certificates"), True),
        ("CertificatesFunction", "PutItem", item(LEASES, "ADDRESS#203.0.113.11"), False),
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


def test_webhooks_keys_and_providers_passwords_are_opened_by_different_functions():
    def opens(function, **context):
        return allowed(function, "Decrypt", {"EncryptionContext": {"owner": "t/x", **context}}, "kms")

    assert opens("HooksFunction", kind="hook")
    assert not opens("HooksFunction", kind="provider")
    assert opens("DecisionsFunction", kind="provider")
    assert not opens("DecisionsFunction", kind="hook")
    assert opens("DecisionsFunction", kind="certificate")
    assert not opens("DecisionsFunction", kind="acme")
    assert opens("CertificatesFunction", kind="acme")
    assert not opens("CertificatesFunction", kind="provider")
    assert not opens("CertificatesFunction")


@pytest.mark.parametrize("function", sorted(POLICIES))
def test_a_request_that_names_no_key_is_not_taken_for_one_with_good_keys(function):
    """IAM finds that all of no values match (IAM, multivalued context keys)."""
    for statement in POLICIES[function]:
        if any(operator.startswith("ForAllValues") for operator, _, _ in statement.conditions):
            for action in statement.actions:
                for table in statement.tables:
                    assert not statement.holds(Access(action, table))


@pytest.mark.parametrize(
    ("action", "name", "kind", "expected"),
    [
        ("UPSERT", "_acme-challenge.pbx.voip.test.", "TXT", True),
        ("DELETE", "_ACME-challenge.pbx.voip.test", "TXT", True),
        ("CREATE", "_acme-challenge.pbx.voip.test", "TXT", False),
        ("UPSERT", "_acme-challenge.pbx.voip.test", "CNAME", False),
        ("UPSERT", "pbx.voip.test", "TXT", False),
        ("UPSERT", "x._acme-challenge.pbx.voip.test", "TXT", False),
    ],
)
def test_of_zones_only_what_answers_challenges_is_changed(action, name, kind, expected):
    change = {"Action": action, "ResourceRecordSet": {"Name": name, "Type": kind}}
    asked = {"HostedZoneId": "Z1", "ChangeBatch": {"Changes": [change]}}
    assert allowed("CertificatesFunction", "ChangeResourceRecordSets", asked, "route53") is expected
    other = {"Action": action, "ResourceRecordSet": {"Name": "www.voip.test", "Type": kind}}
    asked["ChangeBatch"]["Changes"].append(other)
    assert not allowed("CertificatesFunction", "ChangeResourceRecordSets", asked, "route53")
    assert not allowed("ProvisioningFunction", "ChangeResourceRecordSets", asked, "route53")
