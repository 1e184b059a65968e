"""What the template promises that MiniStack doesn't enforce, and that the models fit the tables."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import urllib.request
from typing import Any

import boto3
import pytest

from lambdas.hooks.delivering import DELAYS
from lambdas.repositories.call_models import CallItem
from lambdas.repositories.models import BindingItem, DirectoryItem
from scripts import cost
from scripts.tables import TEMPLATE, load_template, table_definitions

RESOURCES = load_template()["Resources"]
ENROLMENT = {
    "EnrolInstances": [{"Sub": "EDGE#${AWS::Region}-?"}, {"Sub": "AOR#probe-${AWS::Region}-?@*"}],
    "WhileTheirDomainIsThere": ["DOMAIN#*"],
}
ZONES = [
    ("route53:ListHostedZonesByName", ["*"]),
    ("route53:ChangeResourceRecordSets", [{"Sub": "arn:${AWS::Partition}:route53:::hostedzone/*"}]),
    ("route53:GetChange", [{"Sub": "arn:${AWS::Partition}:route53:::change/*"}]),
]


def replicas(table):
    for replica in RESOURCES[table]["Properties"]["Replicas"]:
        yield replica["If"][1] if "If" in replica else replica


@pytest.mark.parametrize("table", ["DirectoryTable", "BindingsTable", "CallsTable"])
def test_what_people_provisioned_is_protected_in_every_region(table):
    assert RESOURCES[table]["DeletionPolicy"] == RESOURCES[table]["UpdateReplacePolicy"] == "Retain"
    for replica in replicas(table):
        assert replica["DeletionProtectionEnabled"] is True
        assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_leases_are_strongly_consistent_with_a_witness_where_there_are_two_regions():
    properties = RESOURCES["LeasesTable"]["Properties"]
    assert properties["MultiRegionConsistency"]["If"][:2] == ["TwoRegions", "STRONG"]
    assert properties["GlobalTableWitnesses"]["If"][:2] == ["TwoRegions", [{"Region": {"Ref": "WitnessRegion"}}]]
    assert "TimeToLiveSpecification" not in properties


def test_an_arn_of_tables_stands_once():
    assert TEMPLATE.read_text().count(":dynamodb:") == 1


def test_each_parameter_is_documented():
    documented = (TEMPLATE.parent / "docs" / "deploy.md").read_text()
    for name in load_template()["Parameters"]:
        assert re.search(rf"^\| [^|]*`{name}`[^|]* \|", documented, re.MULTILINE), name


def test_functions_may_do_only_what_they_need():
    functions = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::Serverless::Function"]
    for name in functions:
        for policy in RESOURCES[name]["Properties"]["Policies"]:
            for statement in policy["Statement"]:
                statement = statement["If"][1] if "If" in statement else statement
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                resources = (
                    statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
                )
                assert not any("*" in action for action in actions)
                if statement["Sid"] == "FindAddresses":
                    assert actions == ["ec2:DescribeAddresses", "ec2:DescribeNetworkInterfaces"]
                    assert resources == ["*"]
                elif statement["Sid"] in ("MoveOurAddresses", "MoveOurIpv6Addresses"):
                    ipv6 = ["ec2:AssignIpv6Addresses", "ec2:UnassignIpv6Addresses"]
                    assert actions == (ipv6 if "Ipv6" in statement["Sid"] else ["ec2:AssociateAddress"])
                    assert statement["Condition"]["StringEquals"] == {
                        "aws:ResourceTag/sipwizard": {"Ref": "TablePrefix"}
                    }
                elif statement["Sid"] == "SealKeysOfCertificates":
                    assert name == "CertificatesFunction"
                    assert actions == ["kms:Encrypt", "kms:Decrypt"]
                    kinds = {"kms:EncryptionContext:kind": ["certificate", "acme"]}
                    assert statement["Condition"] == {"StringEquals": kinds}
                elif actions[0].startswith("route53:"):
                    assert name == "CertificatesFunction"
                    assert (actions[0], resources) in ZONES
                elif statement["Sid"] in ("OpenWhatEdgesNeed", "SealPasswordsOfProviders", "OpenTheirSecrets"):
                    assert actions == ["kms:Encrypt" if name == "ProvisioningFunction" else "kms:Decrypt"]
                    assert resources == [{"If": ["MakesKey", {"GetAtt": "SecretsKeyMade.Arn"}, {"Ref": "SecretsKey"}]}]
                elif statement["Sid"] == "WriteThePage":
                    assert (actions, resources) == (["s3:PutObject"], [{"Sub": "${StatusBucket.Arn}/*"}])
                elif name == "EmptyingFunction":
                    assert (actions, resources) in (
                        (["s3:ListBucket"], [{"GetAtt": "StatusBucket.Arn"}]),
                        (["s3:DeleteObject"], [{"Sub": "${StatusBucket.Arn}/*"}]),
                    )
                elif statement["Sid"] == "WriteToPeople":
                    assert name in ("ProvisioningFunction", "HooksFunction")
                    assert actions == ["ses:SendEmail"]
                    assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": {"Ref": "MailFrom"}}}
                elif actions[0].startswith("sqs:"):
                    assert actions == ["sqs:ChangeMessageVisibility" if name == "HooksFunction" else "sqs:SendMessage"]
                    queue = "PushQueue" if statement["Sid"] == "HavePhonesWoken" else "HooksQueue"
                    assert resources == [{"GetAtt": f"{queue}.Arn"}]
                else:
                    assert all("table/${TablePrefix}-" in resource["Sub"] for resource in resources)
                if statement["Sid"] in ENROLMENT:
                    assert statement["Condition"]["ForAllValues:StringLike"] == {
                        "dynamodb:LeadingKeys": ENROLMENT[statement["Sid"]]
                    }
    assert RESOURCES["DecisionsFunction"]["Properties"]["FunctionUrlConfig"]["AuthType"] == "AWS_IAM"


def test_edges_function_has_the_memory_that_it_is_given_and_that_the_bill_reckons_with():
    assert RESOURCES["DecisionsFunction"]["Properties"]["MemorySize"] == {"Ref": "DecisionsMemory"}
    assert load_template()["Parameters"]["DecisionsMemory"]["Default"] == cost.LAMBDA_GIGABYTES * 1024


def test_what_strangers_can_cost_is_bounded_except_where_an_account_has_nothing_to_reserve():
    reserved = RESOURCES["ProvisioningFunction"]["Properties"]["ReservedConcurrentExecutions"]
    assert reserved == {"If": ["BoundsProvisioning", {"Ref": "ProvisioningConcurrency"}, {"Ref": "AWS::NoValue"}]}
    template = load_template()
    bounds = template["Conditions"]["BoundsProvisioning"]
    assert bounds == {"Not": [{"Equals": [{"Ref": "ProvisioningConcurrency"}, 0]}]}
    assert template["Parameters"]["ProvisioningConcurrency"]["Default"] == 10
    reserved = RESOURCES["DecisionsFunction"]["Properties"]["ReservedConcurrentExecutions"]
    assert reserved == {"If": ["BoundsDecisions", {"Ref": "DecisionsConcurrency"}, {"Ref": "AWS::NoValue"}]}
    assert template["Parameters"]["DecisionsConcurrency"]["Default"] == 0


@pytest.mark.parametrize("name", ["DecisionsFunction", "ProvisioningFunction"])
def test_whoever_enrols_edges_knows_whether_there_are_certificates(name):
    assert RESOURCES[name]["Properties"]["Environment"]["Variables"]["ACME_DIRECTORY"] == {"Ref": "AcmeDirectory"}


class Bucket:
    """S3 with one bucket of two pages, as far as a function asks for it."""

    def __init__(self, objects: list[str], fault: Exception | None = None) -> None:
        self.objects = objects
        self.fault = fault
        self.exceptions = type("Exceptions", (), {"NoSuchBucket": KeyError})

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_objects_v2"
        return self

    def paginate(self, **named: str) -> Any:
        assert named == {"Bucket": "page"}
        if self.fault:
            raise self.fault
        return iter([{"Contents": [{"Key": key}]} for key in self.objects] + [{}])

    def delete_object(self, **named: str) -> None:
        assert named["Bucket"] == "page"
        self.objects.remove(named["Key"])


@pytest.mark.parametrize(
    ("kind", "fault", "answered", "left"),
    [
        ("Create", None, "SUCCESS", ["index.html", "status.json"]),
        ("Update", None, "SUCCESS", ["index.html", "status.json"]),
        ("Delete", None, "SUCCESS", []),
        ("Delete", KeyError("gone"), "SUCCESS", ["index.html", "status.json"]),
        ("Delete", OSError("denied"), "FAILED", ["index.html", "status.json"]),
    ],
)
def test_the_status_page_is_taken_away_before_its_bucket(monkeypatch, kind, fault, answered, left):
    bucket = Bucket(["index.html", "status.json"], fault)
    sent = []

    def urlopen(request, timeout):
        sent.append(request)
        return open("/dev/null")

    monkeypatch.setattr(boto3, "client", lambda service: bucket)
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    function: dict[str, Any] = {}
    exec(RESOURCES["EmptyingFunction"]["Properties"]["InlineCode"], function)
    asked = {"StackId": "s", "RequestId": "r", "LogicalResourceId": "StatusBucketContent"}
    function["handler"](
        {**asked, "RequestType": kind, "ResponseURL": "https://a.example/", "ResourceProperties": {"Bucket": "page"}},
        None,
    )
    (request,) = sent
    assert (request.method, request.full_url, request.get_header("Content-type")) == ("PUT", "https://a.example/", "")
    answer = json.loads(request.data)
    assert answer.pop("Reason", None) == ("denied" if answered == "FAILED" else None)
    assert answer == {**asked, "PhysicalResourceId": "StatusBucketContent", "Status": answered}
    assert bucket.objects == left


def test_nobody_writes_the_status_page_while_it_is_taken_away():
    """What depends on a resource is deleted before it."""
    assert RESOURCES["StatusFunction"]["DependsOn"] == "StatusBucketContent"
    properties = RESOURCES["StatusBucketContent"]["Properties"]
    assert properties["Bucket"] == {"Ref": "StatusBucket"}
    assert properties["ServiceToken"] == {"GetAtt": "EmptyingFunction.Arn"}


def test_an_edge_may_call_its_function_url_and_nothing_else():
    statements = RESOURCES["EdgePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert [statement["Action"] for statement in statements] == ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]
    assert all(statement["Resource"] == {"GetAtt": "DecisionsFunction.Arn"} for statement in statements)
    conditions = [statement["Condition"] for statement in statements]
    assert conditions == [
        {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}},
        {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
    ]


@pytest.mark.parametrize("name", ["EdgeA", "EdgeB"])
def test_an_edge_that_the_stack_starts_is_one_instance_that_has_its_role_only(name):
    role = RESOURCES[f"{name}Role"]["Properties"]
    assert "Policies" not in role
    assert role["ManagedPolicyArns"] == {
        "If": ["KnowsOtherPolicy", [{"Ref": "OtherEdgePolicy"}], {"Ref": "AWS::NoValue"}]
    }
    group = RESOURCES[f"{name}Group"]["Properties"]
    assert (group["MinSize"], group["MaxSize"], len(group["AvailabilityZones"])) == ("1", "1", 1)
    data = RESOURCES[f"{name}Template"]["Properties"]["LaunchTemplateData"]
    assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert data["IamInstanceProfile"] == {"Arn": {"GetAtt": f"{name}Profile.Arn"}}
    assert {"Key": "sipwizard", "Value": {"Ref": "TablePrefix"}} in data["TagSpecifications"][1]["Tags"]
    address = RESOURCES[f"{name}ElasticIp"]
    assert address["DeletionPolicy"] == address["UpdateReplacePolicy"] == "Retain"
    assert address["Properties"]["Tags"] == [{"Key": "sipwizard", "Value": {"Ref": "TablePrefix"}}]


@pytest.mark.parametrize("digest", ["", "right", "wrong"])
def test_an_edge_runs_only_the_program_it_was_told(tmp_path, digest):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "README").write_text("x")
    archive = tmp_path / "a.tar.gz"
    subprocess.run(["tar", "-czf", archive, "made"], cwd=tmp_path, check=True)
    real = hashlib.sha256(archive.read_bytes()).hexdigest()
    named = {"": "", "right": real, "wrong": "0" * 64}[digest]
    data = RESOURCES["EdgeATemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Sub"]
    lines = data.replace("${EdgeProgram}", archive.as_uri()).replace("${EdgeProgramDigest}", named).splitlines()
    (begin,) = [number for number, line in enumerate(lines) if "curl --proto '=https' --tlsv1.2 -fsSL" in line]
    (end,) = [number for number, line in enumerate(lines) if "tar -xz" in line]
    script = "\n".join(["set -o pipefail", *lines[begin : end + 1], "true"]).replace("'=https'", "'=file'")
    there = tmp_path / "there"
    there.mkdir()
    done = subprocess.run(["bash", "-c", script], cwd=there, capture_output=True, check=False)
    assert (done.returncode == 0, (there / "README").exists()) == (digest == "right",) * 2


def test_edges_need_a_digest():
    (rule,) = [rule for name, rule in load_template()["Rules"].items() if name == "EdgesNeedAProgram"]
    asserted = [one["Assert"] for one in rule["Assertions"]]
    assert {"Not": [{"Equals": [{"Ref": "EdgeProgramDigest"}, ""]}]} in asserted


@pytest.mark.parametrize("name", ["EdgeA", "EdgeB"])
def test_the_disks_of_edges_are_encrypted(name):
    (disk,) = RESOURCES[f"{name}Template"]["Properties"]["LaunchTemplateData"]["BlockDeviceMappings"]
    assert disk["DeviceName"] == {"Ref": "EdgeDisk"}
    assert disk["Ebs"]["Encrypted"] is True


def test_no_permission_is_had_by_naming_no_key():
    """All of no values fulfil a condition for all values, so each such statement asks that there are some."""
    found = 0
    for name, resource in RESOURCES.items():
        for policy in resource.get("Properties", {}).get("Policies", []):
            for statement in policy["Statement"]:
                statement = statement["If"][1] if "If" in statement else statement
                conditions = statement.get("Condition", {})
                keys = {key for one, wanted in conditions.items() if one.startswith("ForAllValues:") for key in wanted}
                if keys:
                    found += 1
                    assert conditions["Null"] == dict.fromkeys(sorted(keys, reverse=True), "false"), (
                        f"{name}: {statement['Sid']}"
                    )
    assert found == 27


def test_whoever_writes_to_the_status_page_does_so_by_tls():
    deny = RESOURCES["StatusBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"][1]
    assert (deny["Effect"], deny["NotAction"]) == ("Deny", "s3:GetObject")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_what_webhooks_function_cannot_work_on_is_put_aside_and_told():
    redrive = RESOURCES["HooksQueue"]["Properties"]["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"GetAtt": "HooksDeadLetters.Arn"}
    assert redrive["maxReceiveCount"] > len(DELAYS) + 1  # who doesn't take it is given up before
    alarm = RESOURCES["DeadLetters"]["Properties"]
    assert (alarm["Namespace"], alarm["Threshold"]) == ("AWS/SQS", 0)


def test_alarms_and_the_budget_tell_somebody_or_are_not_made():
    alarms = {name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::CloudWatch::Alarm"}
    assert alarms == {
        *("ManyDecisions", "FailingDecisions", "ThrottledDecisions"),
        *("FailingProvisioning", "ThrottledProvisioning", "FailingPushes", "FailingCertificates", "DeadLetters"),
    }
    for name in alarms:
        certifying = name == "FailingCertificates"
        assert RESOURCES[name]["Condition"] == ("AlarmsOfCertificates" if certifying else "Alarms")
        assert RESOURCES[name]["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    assert RESOURCES["Budget"]["Condition"] == "Budgets"
    for told in RESOURCES["Budget"]["Properties"]["NotificationsWithSubscribers"]:
        assert told["Subscribers"] == [{"SubscriptionType": "EMAIL", "Address": {"Ref": "AlarmMail"}}]


def test_both_edges_are_made_alike():
    def renamed(part):
        text = json.dumps(part).replace("edge B", "edge A")
        return json.loads(re.sub(r"EdgeB(?=[A-Z])|StartsB|AddressB", lambda found: found[0][:-1] + "A", text))

    for part in ("ElasticIp", "Role", "Profile", "Template"):
        second = renamed(RESOURCES[f"EdgeB{part}"])
        assert second == RESOURCES[f"EdgeA{part}"]


def test_the_front_shows_its_secret_to_the_function_and_to_nobody_else():
    front = load_template(TEMPLATE.with_name("front.yaml"))
    distribution = front["Resources"]["Front"]["Properties"]["DistributionConfig"]
    (origin,) = distribution["Origins"]
    assert origin["OriginCustomHeaders"] == [{"HeaderName": "x-origin-secret", "HeaderValue": {"Ref": "OriginSecret"}}]
    assert (origin["CustomOriginConfig"]["OriginProtocolPolicy"], "OriginAccessControlId" in origin) == (
        *("https-only", False),
    )
    default = distribution["DefaultCacheBehavior"]
    assert default["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # nobody gets another's answer
    assert {one["PathPattern"] for one in distribution["CacheBehaviors"]} == {"/v1/openapi.json"}
    for template in (front, load_template()):
        assert template["Parameters"]["OriginSecret"]["NoEcho"] is True
        assert "OriginSecret" not in json.dumps(template["Outputs"])
    variables = RESOURCES["ProvisioningFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["ORIGIN_SECRET"] == {"Ref": "OriginSecret"}


def test_the_front_bounds_each_source():
    front = load_template(TEMPLATE.with_name("front.yaml"))
    (rule,) = front["Resources"]["Bound"]["Properties"]["Rules"]
    assert rule["Statement"]["RateBasedStatement"] == {
        "AggregateKeyType": "IP", "EvaluationWindowSec": 60, "Limit": {"Ref": "SourceRate"}
    }  # fmt: skip
    assert rule["Action"]["Block"]["CustomResponse"]["ResponseCode"] == 429
    distribution = front["Resources"]["Front"]["Properties"]["DistributionConfig"]
    assert distribution["WebACLId"] == {"GetAtt": "Bound.Arn"}
    (function,) = distribution["DefaultCacheBehavior"]["FunctionAssociations"]
    assert function["EventType"] == "viewer-request"
    assert '["true-client-ip"] = {value: event.viewer.ip}' in front["Resources"]["Caller"]["Properties"]["FunctionCode"]


@pytest.mark.parametrize(
    ("model", "name"), [(DirectoryItem, "directory"), (BindingItem, "bindings"), (CallItem, "calls")]
)
def test_models_fit_their_tables(model, name):
    (table,) = [item for item in table_definitions("sipwizard") if item["TableName"] == f"sipwizard-{name}"]
    assert model.Meta.table_name == table["TableName"]
    keys = {item["AttributeName"] for item in table["KeySchema"]}
    attributes = model.get_attributes()
    assert {name for name, item in attributes.items() if item.is_hash_key or item.is_range_key} == keys
    for index in table["GlobalSecondaryIndexes"]:
        assert {item["AttributeName"] for item in index["KeySchema"]} <= set(attributes)


def test_phones_come_by_each_transport_and_the_mesh_from_edges_only():
    open_to: dict[str, set[tuple[str, int]]] = {}
    for rule in RESOURCES["EdgeGroup"]["Properties"]["SecurityGroupIngress"]:
        condition, rule = (rule["If"][0], rule["If"][1]) if "If" in rule else ("", rule)
        media = (rule["FromPort"], rule["ToPort"]) == (30000, 39999)
        assert rule["FromPort"] == rule["ToPort"] or media
        if rule["FromPort"] == 5070:
            assert rule["CidrIp"]["Sub"].endswith("/32")
            continue
        assert rule.get("CidrIp", rule.get("CidrIpv6")) in ("0.0.0.0/0", "::/0")
        assert ("CidrIpv6" in rule) == (condition in ("WithIpv6", "WithBoth", "WithMediaOfBoth"))
        open_to.setdefault(condition, set()).add((rule["IpProtocol"], rule["FromPort"]))
    sip, tls, rtp = {("udp", 5060), ("tcp", 5060)}, {("tcp", 5061), ("tcp", 443)}, {("udp", 30000)}
    with_media = {"WithMedia": rtp, "WithMediaOfBoth": rtp}
    assert open_to == {"": sip, "WithTls": tls, "WithIpv6": sip, "WithBoth": tls, **with_media}
    (interface,) = RESOURCES["EdgeATemplate"]["Properties"]["LaunchTemplateData"]["NetworkInterfaces"]
    assert interface["Ipv6AddressCount"] == {"If": ["WithIpv6", 1, {"Ref": "AWS::NoValue"}]}


def test_the_unit_may_have_ports_of_their_own_numbers_and_nothing_else():
    unit = (TEMPLATE.parent / "scripts" / "sipwizard-edge.service").read_text().splitlines()
    for name in ("CapabilityBoundingSet", "AmbientCapabilities"):
        assert [line for line in unit if line.startswith(name)] == [f"{name}=CAP_NET_BIND_SERVICE"]
    assert not [line for line in unit if line.startswith("PrivateUsers")]  # the capability would be of another world


@pytest.mark.parametrize(("media", "installed"), [("on", True), ("off", False)])
def test_instances_have_the_relay_where_they_are_to_relay(media, installed):
    data = RESOURCES["EdgeATemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Sub"]
    lines = data.replace("${EdgeMedia}", media).splitlines()
    (begin,) = [number for number, line in enumerate(lines) if line.startswith("packages=")]
    script = "\n".join([*lines[begin : begin + 2], "echo $packages"])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert ("rtpengine-daemon" in done.stdout.split()) == installed
    (install,) = [line for line in lines if "apt-get install" in line]
    assert "$packages" in install.split()
