"""baresip and Linphone by IPv6 at edge-a; their peers are at edge-b, by UDP and IPv6."""

from __future__ import annotations

import pytest

from scripts.fleet_parts import DOMAIN, SIP, SIPS, Host
from tests.natlab.conftest import laboratory
from tests.phones.scenarios import Calls
from tests.support.natlab import NatLab, ipv6_of
from tests.support.phones.baresip import Baresip
from tests.support.phones.linphone import Linphone

pytestmark = pytest.mark.natlab

PLACE = "nat"  # which is outside, and has a NAT for nobody here


@pytest.fixture(scope="module")
def lab():
    with laboratory(NatLab) as made:
        made.add_ipv6()
        edge = ipv6_of(made.host("edge-a"))
        made.name({f"edge-a.{DOMAIN}": edge})
        # Linphone drops its connections after some seconds where there is no route to the whole world.
        made.run(PLACE, "ip", "-6", "route", "replace", "default", "via", edge)
        yield made


@pytest.fixture(scope="module")
def fleet(lab, tmp_path_factory):
    made = lab.fleet(tmp_path_factory.mktemp("fleet"))
    for edge in made.edges:
        edge.settings["address6"] = ipv6_of(edge.host)
    try:
        made.start()
        yield made
    finally:
        made.stop()


class CallsByIPv6(Calls):
    user = "bob"
    port = SIP
    edge = ""  # its address

    def seen_at(self, lab):
        return ipv6_of(lab.host(PLACE))


@pytest.fixture(scope="class")
def phone(request, lab, fleet, tmp_path_factory):
    wanted = request.cls
    host = Host(ipv6_of(lab.host(PLACE)), lab.ns(PLACE))
    proxy = (wanted.edge or ipv6_of(lab.host("edge-a")), wanted.port)
    directory, account = tmp_path_factory.mktemp("phone"), fleet.accounts[wanted.user]
    with wanted.kind(directory, account, DOMAIN, host, proxy, wanted.transport, authority=fleet.ca.path) as made:
        yield made


class TestBaresipByUdp(CallsByIPv6):
    kind, transport, attended = Baresip, "udp", False


class TestBaresipByTcp(CallsByIPv6):
    kind, transport, attended = Baresip, "tcp", False


class TestBaresipByTls(CallsByIPv6):
    kind, transport, attended = Baresip, "tls", False
    port = SIPS


class TestLinphoneByUdp(CallsByIPv6):
    kind, transport = Linphone, "udp"
    user = "dave"


class TestLinphoneByTls(CallsByIPv6):
    kind, transport = Linphone, "tls"
    edge, port = f"edge-a.{DOMAIN}", SIPS
