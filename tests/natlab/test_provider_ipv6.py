"""A provider that has IPv6 only: Kamailio, for edge addresses with an IPv6 side."""

from __future__ import annotations

import pytest

from scripts.fleet_parts import DOMAIN, SIP, Host, PhoneAccount
from scripts.processes import wait_for
from tests.natlab.conftest import laboratory
from tests.support.kamailio import Kamailio
from tests.support.natlab import NatLab, ipv6_of
from tests.support.socket_phone import SocketPhone, call, in_dialog

pytestmark = pytest.mark.natlab

NAME = "sip.voip.test"
FAR = PhoneAccount(f"442079460001@{NAME}", "442079460001", "secret")


def test_a_provider_that_has_ipv6_only(tmp_path):
    """Registered, called and calling, for a phone behind a NAT of IPv4; an edge is started anew in between."""
    with laboratory(NatLab) as lab:
        lab.add_ipv6()
        fleet = lab.fleet(tmp_path / "fleet")
        for edge in fleet.edges:
            side = ipv6_of(edge.host)
            listen = [f"{kind}://{host}:{SIP}" for host in (edge.address, f"[{side}]") for kind in ("udp", "tcp")]
            edge.settings |= {"address6": side, "listen": listen, "provider_networks": ["2001:db8::/32"]}
        place = Host(ipv6_of(lab.host("caller")), lab.ns("caller"))
        provider = Kamailio(tmp_path, place, NAME)
        try:
            fleet.start()
            tenant = fleet.client.api("GET", "/v1/tenants")["items"][0]["id"]
            login = {"username": "4420", "password": "secret", "incoming": [f"bob@{DOMAIN}"]}
            account = {"tenant": tenant, "name": "voip", "host": place.address, "from_domain": NAME, "transport": "tcp"}
            shown = fleet.client.api("POST", "/v1/providers", {**account, **login})
            assert shown["host"] == f"[{place.address}]"
            routes = {"country": "GB", "outbound_routes": [{"providers": ["voip"]}]}
            fleet.client.api("PATCH", f"/v1/tenants/{tenant}", routes)

            def registered():
                state = fleet.client.api("GET", f"/v1/providers/voip?tenant={tenant}")["registration"]
                return state if state["state"] == "registered" else None

            state = wait_for("the account to be registered", registered, 20)
            assert state["server"] == f"tcp:[{place.address}]:{SIP}"
            holder = next(edge for edge in fleet.edges if edge.id == state["edge"])
            assert f"@[{ipv6_of(holder.host)}]:{SIP}" in provider.registrations("4420")[-1].contact
            near = SocketPhone(fleet.accounts["bob"], DOMAIN, lab.host("phone"), (fleet.edges[1].address, SIP))
            with near as bob, SocketPhone(FAR, NAME, place, (place.address, SIP)) as far:
                assert bob.register() == far.register() == 200
                out, theirs = call(bob, far, f"sip:02079460001@{DOMAIN}")
                in_dialog(far, theirs, "INVITE", bob)
                in_dialog(bob, out, "BYE", far)
                mine, ours = call(far, bob, f"sip:4420@{NAME}")
                before = len(provider.registrations("4420"))
                fleet.processes.stop(holder.id)
                fleet.start_edge(holder)
                fleet.wait_ready(holder)
                wait_for("it to be registered again", lambda: provider.registrations("4420")[before:], 20)
                in_dialog(bob, ours, "INVITE", far)
                in_dialog(far, mine, "BYE", bob)
        finally:
            provider.stop()
            fleet.stop()
