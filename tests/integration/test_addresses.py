"""Elastic IPs, moved by the control plane's driver in an EC2 of MiniStack's."""

from __future__ import annotations

import os
import sys

import boto3
import pytest
from botocore.stub import Stubber

from lambdas.repositories.addresses import Addresses
from scripts.fleet_parts import MINISTACK
from scripts.processes import Processes
from tests.support.fleets import fresh_base

pytestmark = pytest.mark.integration


@pytest.fixture
def ec2(tmp_path, monkeypatch):
    host = fresh_base()
    processes = Processes(tmp_path)
    environment = {
        **os.environ,
        "GATEWAY_PORT": str(MINISTACK),
        "BIND_HOST": host,
        "MINISTACK_HOST": host,
        "SERVICES": "ec2",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "TMPDIR": str(tmp_path),
    }
    processes.start("ministack", [sys.executable, "-m", "ministack"], environment)
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{MINISTACK}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    try:
        client = boto3.client("ec2")

        def answers():
            try:
                return client.describe_vpcs() is not None
            except Exception:
                return None

        processes.wait_until("ministack", answers)
        yield client
    finally:
        processes.stop_all()


def test_what_ec2_does_not_confirm_counts_as_not_moved(ec2):
    """MiniStack associates, but doesn't tell with which interface: the address may not be used then."""
    address = ec2.allocate_address(Domain="vpc")["PublicIp"]
    assert not Addresses().move(address, "eni-0123456789abcdef0", "10.0.0.12")
    (found,) = ec2.describe_addresses(PublicIps=[address])["Addresses"]
    assert found["AssociationId"]


def test_an_elastic_ip_moves_once_and_is_confirmed():
    """Against EC2's own model: botocore checks each request and answer."""
    client = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    there = {"NetworkInterfaceId": "eni-0123456789abcdef0", "PrivateIpAddress": "10.0.0.12"}
    elsewhere = {"NetworkInterfaceId": "eni-0fedcba9876543210", "PrivateIpAddress": "10.0.0.11"}
    found = {"PublicIp": "203.0.113.11", "AllocationId": "eipalloc-0a"}
    asked = {"PublicIps": ["203.0.113.11"]}
    with Stubber(client) as stub:
        stub.add_response("describe_addresses", {"Addresses": [found | elsewhere]}, asked)
        stub.add_response(
            "associate_address",
            {"AssociationId": "eipassoc-0b"},
            {"AllocationId": "eipalloc-0a", "AllowReassociation": True, **there},
        )
        stub.add_response("describe_addresses", {"Addresses": [found | there]}, asked)
        addresses = Addresses()
        addresses._client = client
        assert addresses.move("203.0.113.11", "eni-0123456789abcdef0", "10.0.0.12")
        stub.add_response("describe_addresses", {"Addresses": [found | there]}, asked)
        assert addresses.move("203.0.113.11", "eni-0123456789abcdef0", "10.0.0.12")  # it is there: nothing to do
        stub.add_client_error("describe_addresses", "InvalidAddress.NotFound")
        assert not addresses.move("203.0.113.11", "eni-0123456789abcdef0", "10.0.0.12")
        stub.assert_no_pending_responses()


A6, MINE, OTHER = "2001:db8::11", "eni-0123456789abcdef0", "eni-0fedcba9876543210"


def interfaces(*found: tuple[str, str, list[str]]) -> dict:
    return {
        "NetworkInterfaces": [
            {"NetworkInterfaceId": name, "SubnetId": subnet, "Ipv6Addresses": [{"Ipv6Address": one} for one in ipv6]}
            for name, subnet, ipv6 in found
        ]
    }


def moved_ipv6(*answers: tuple[str, dict, dict]) -> bool:
    """What comes of moving A6 to MINE, against EC2's own model, if it answers so; all of it must be asked."""
    made = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(made) as stub:
        for operation, asked, answer in answers:
            stub.add_response(operation, answer, asked)
        addresses = Addresses()
        addresses._client = made
        found = addresses.move_ipv6(A6, MINE)
        stub.assert_no_pending_responses()
    return found


ABOUT_MINE = ("describe_network_interfaces", {"NetworkInterfaceIds": [MINE]})
WHERE = (
    "describe_network_interfaces",
    {"Filters": [{"Name": "ipv6-addresses.ipv6-address", "Values": [A6]}]},
)
ASSIGN = ("assign_ipv6_addresses", {"NetworkInterfaceId": MINE, "Ipv6Addresses": [A6]}, {})


def test_an_ipv6_address_moves_within_its_subnet():
    assert moved_ipv6(
        (*ABOUT_MINE, interfaces((MINE, "subnet-1", []))),
        (*WHERE, interfaces((OTHER, "subnet-1", [A6]))),
        ("unassign_ipv6_addresses", {"NetworkInterfaceId": OTHER, "Ipv6Addresses": [A6]}, {}),
        ASSIGN,
        (*ABOUT_MINE, interfaces((MINE, "subnet-1", [A6]))),
    )


def test_an_ipv6_address_whose_machine_is_gone_is_taken():
    assert moved_ipv6(
        (*ABOUT_MINE, interfaces((MINE, "subnet-1", []))),
        (*WHERE, interfaces()),
        ASSIGN,
        (*ABOUT_MINE, interfaces((MINE, "subnet-1", [A6]))),
    )


def test_an_ipv6_address_that_is_there_stays():
    here = interfaces((MINE, "subnet-1", [A6]))
    assert moved_ipv6((*ABOUT_MINE, here), (*WHERE, here))


def test_an_ipv6_address_of_another_subnet_stays_where_it_is(caplog):
    assert not moved_ipv6(
        (*ABOUT_MINE, interfaces((MINE, "subnet-1", []))), (*WHERE, interfaces((OTHER, "subnet-2", [A6])))
    )
    assert "it belongs to subnet-2" in caplog.text


def test_what_ec2_does_not_confirm_of_ipv6_counts_as_not_moved():
    nowhere = interfaces((MINE, "subnet-1", []))
    assert not moved_ipv6((*ABOUT_MINE, nowhere), (*WHERE, interfaces()), ASSIGN, (*ABOUT_MINE, nowhere))
