"""Edge addresses in EC2, moved by the control plane's driver from one network interface to another. Moto's EC2 knows
both sides of them; MiniStack's tells of neither where it is; botocore's stub says what no emulator does."""

from __future__ import annotations

import os
import sys

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from moto.ec2.models.elastic_network_interfaces import NetworkInterface

from lambdas.repositories.addresses import Addresses
from scripts.fleet_parts import MINISTACK
from scripts.processes import Processes
from tests.support.fleets import fresh_base

pytestmark = pytest.mark.integration


A6 = "2001:db8::11"


@pytest.fixture
def ministack(tmp_path, monkeypatch):
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


@pytest.fixture
def ec2(monkeypatch):
    """Moto 5.2.5 can't find interfaces by their IPv6 addresses."""
    others = NetworkInterface.get_filter_value

    def value(self, name, method_name=None):
        return self.ipv6_addresses if name == "ipv6-addresses.ipv6-address" else others(self, name, method_name)

    monkeypatch.setattr(NetworkInterface, "get_filter_value", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield boto3.client("ec2")


@pytest.fixture
def subnets(ec2):
    """Two, of one network."""
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ranges = ("10.0.1.0/24", "10.0.2.0/24")
    return [ec2.create_subnet(VpcId=vpc, CidrBlock=one)["Subnet"]["SubnetId"] for one in ranges]


def interface(ec2, subnet, ipv6=()):
    """A new one: (its name, its private address)."""
    made = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]
    if ipv6:
        ec2.assign_ipv6_addresses(NetworkInterfaceId=made["NetworkInterfaceId"], Ipv6Addresses=list(ipv6))
    return made["NetworkInterfaceId"], made["PrivateIpAddress"]


def ipv6_at(ec2, name):
    (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[name])["NetworkInterfaces"]
    return [one["Ipv6Address"] for one in found["Ipv6Addresses"]]


def test_both_sides_of_an_address_move_to_another_interface(ec2, subnets):
    old, old_private = interface(ec2, subnets[0], ["2001:db8::10", A6])
    new, new_private = interface(ec2, subnets[0])
    address = ec2.allocate_address(Domain="vpc")["PublicIp"]
    addresses = Addresses()
    assert addresses.move(address, old, old_private)
    assert addresses.move(address, new, new_private)
    assert addresses.move_ipv6(A6, new)
    (found,) = ec2.describe_addresses(PublicIps=[address])["Addresses"]
    assert (found["NetworkInterfaceId"], found["PrivateIpAddress"]) == (new, new_private)
    assert (ipv6_at(ec2, old), ipv6_at(ec2, new)) == (["2001:db8::10"], [A6])
    # They are there: nothing more is done.
    assert addresses.move(address, new, new_private)
    assert addresses.move_ipv6(A6, new)
    assert ec2.describe_addresses(PublicIps=[address])["Addresses"] == [found]


def test_an_ipv6_address_whose_machine_is_gone_is_taken(ec2, subnets):
    old, _ = interface(ec2, subnets[0], [A6])
    new, _ = interface(ec2, subnets[0])
    ec2.delete_network_interface(NetworkInterfaceId=old)
    assert Addresses().move_ipv6(A6, new)
    assert ipv6_at(ec2, new) == [A6]


def test_an_ipv6_address_of_another_subnet_stays_where_it_is(ec2, subnets, caplog):
    old, _ = interface(ec2, subnets[1], [A6])
    new, _ = interface(ec2, subnets[0])
    assert not Addresses().move_ipv6(A6, new)
    assert f"{A6} can't be moved to {new}: it belongs to {subnets[1]}, and the interface to {subnets[0]}" in caplog.text
    assert (ipv6_at(ec2, old), ipv6_at(ec2, new)) == ([A6], [])


def test_what_is_not_there_is_named(ec2, subnets, caplog):
    new, private = interface(ec2, subnets[0])
    assert not Addresses().move("203.0.113.11", new, private)
    assert not Addresses().move_ipv6(A6, "eni-0123456789abcdef0")
    assert "203.0.113.11 can't be moved to" in caplog.text
    assert "(InvalidAddress.NotFound)" in caplog.text
    assert "(InvalidNetworkInterfaceID.NotFound)" in caplog.text


def test_what_ec2_does_not_confirm_counts_as_not_moved(ministack, caplog):
    """MiniStack associates, but doesn't tell with which interface; it assigns no IPv6 addresses."""
    address = ministack.allocate_address(Domain="vpc")["PublicIp"]
    assert not Addresses().move(address, "eni-0123456789abcdef0", "10.0.0.12")
    (found,) = ministack.describe_addresses(PublicIps=[address])["Addresses"]
    assert found["AssociationId"]
    name = ministack.create_network_interface(SubnetId="")["NetworkInterface"]["NetworkInterfaceId"]
    assert not Addresses().move_ipv6(A6, name)
    assert "Unknown EC2 action" in caplog.text


def test_what_ec2_does_not_confirm_of_ipv6_counts_as_not_moved(caplog):
    made = boto3.client("ec2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    name = "eni-0123456789abcdef0"
    nothing = {"NetworkInterfaces": [{"NetworkInterfaceId": name, "SubnetId": "subnet-1", "Ipv6Addresses": []}]}
    asked = {"NetworkInterfaceIds": [name]}
    with Stubber(made) as stub:
        stub.add_response("describe_network_interfaces", nothing, asked)
        stub.add_response(
            "describe_network_interfaces",
            {"NetworkInterfaces": []},
            {"Filters": [{"Name": "ipv6-addresses.ipv6-address", "Values": [A6]}]},
        )
        stub.add_response("assign_ipv6_addresses", {}, {"NetworkInterfaceId": name, "Ipv6Addresses": [A6]})
        stub.add_response("describe_network_interfaces", nothing, asked)
        addresses = Addresses()
        addresses._client = made
        assert not addresses.move_ipv6(A6, name)
        stub.assert_no_pending_responses()
    assert "EC2 doesn't say that it is there" in caplog.text
