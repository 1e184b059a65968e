"""What the template promises that MiniStack doesn't enforce, and that the models fit the tables."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess

import pytest

from lambdas.repositories.call_models import CallItem
from lambdas.repositories.models import BindingItem, DirectoryItem
from scripts.tables import load_template, table_definitions

RESOURCES = load_template()["Resources"]
ENROLMENT = {
    "EnrolInstances": [{"Sub": "EDGE#${AWS::Region}-?"}, {"Sub": "AOR#probe-${AWS::Region}-?@*"}],
    "WhileTheirDomainIsThere": ["DOMAIN#*"],
}


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


def test_functions_may_do_only_what_they_need():
    for name in ("DecisionsFunction", "ProvisioningFunction", "HooksFunction", "StatusFunction"):
        for policy in RESOURCES[name]["Properties"]["Policies"]:
            for statement in policy["Statement"]:
                statement = statement["If"][1] if "If" in statement else statement
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                resources = (
                    statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
                )
                assert not any("*" in action for action in actions)
                if statement["Sid"] == "FindAddresses":
                    assert (actions, resources) == (["ec2:DescribeAddresses"], ["*"])
                elif statement["Sid"] == "MoveOurAddresses":
                    assert actions == ["ec2:AssociateAddress"]
                    assert statement["Condition"]["StringEquals"] == {
                        "aws:ResourceTag/sipwizard": {"Ref": "TablePrefix"}
                    }
                elif statement["Sid"] in ("OpenPasswordsOfProviders", "SealPasswordsOfProviders", "OpenTheirSecrets"):
                    assert actions == ["kms:Encrypt" if name == "ProvisioningFunction" else "kms:Decrypt"]
                    assert resources == [{"If": ["MakesKey", {"GetAtt": "SecretsKeyMade.Arn"}, {"Ref": "SecretsKey"}]}]
                elif statement["Sid"] == "WriteThePage":
                    assert (actions, resources) == (["s3:PutObject"], [{"Sub": "${StatusBucket.Arn}/*"}])
                elif statement["Sid"] == "WriteToPeople":
                    assert name in ("ProvisioningFunction", "HooksFunction")
                    assert actions == ["ses:SendEmail"]
                    assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": {"Ref": "MailFrom"}}}
                elif actions[0].startswith("sqs:"):
                    assert actions == ["sqs:ChangeMessageVisibility" if name == "HooksFunction" else "sqs:SendMessage"]
                    assert resources == [{"GetAtt": "HooksQueue.Arn"}]
                else:
                    assert all("table/${TablePrefix}-" in resource["Sub"] for resource in resources)
                if statement["Sid"] in ENROLMENT:
                    assert statement["Condition"]["ForAllValues:StringLike"] == {
                        "dynamodb:LeadingKeys": ENROLMENT[statement["Sid"]]
                    }
    assert RESOURCES["DecisionsFunction"]["Properties"]["FunctionUrlConfig"]["AuthType"] == "AWS_IAM"
    assert "ReservedConcurrentExecutions" in RESOURCES["ProvisioningFunction"]["Properties"]


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
    (begin,) = [number for number, line in enumerate(lines) if "curl -fsSL" in line]
    (end,) = [number for number, line in enumerate(lines) if "tar -xz" in line]
    script = "\n".join(["set -o pipefail", *lines[begin : end + 1], "true"])
    there = tmp_path / "there"
    there.mkdir()
    done = subprocess.run(["bash", "-c", script], cwd=there, capture_output=True, check=False)
    assert (done.returncode == 0, (there / "README").exists()) == (digest != "wrong",) * 2


def test_both_edges_are_made_alike():
    def renamed(part):
        text = json.dumps(part).replace("edge B", "edge A")
        return json.loads(re.sub(r"EdgeB(?=[A-Z])|StartsB|AddressB", lambda found: found[0][:-1] + "A", text))

    for part in ("ElasticIp", "Role", "Profile", "Template"):
        second = renamed(RESOURCES[f"EdgeB{part}"])
        assert second == RESOURCES[f"EdgeA{part}"]


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
