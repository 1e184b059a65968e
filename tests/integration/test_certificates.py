"""Certificates, all the way from a real authority (Pebble) to what a TLS client is shown. DNS is MiniStack's Route 53,
answered by a name server of the test's. The function that renews is held to what the template allows it."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

import pytest
from cryptography import x509

from lambdas.decisions.certificates import alias_target
from scripts.fleet_parts import DEVELOPMENT_CREDENTIALS, PREFIX, ROOT, development_client
from scripts.processes import wait_for
from tests.integration.test_provisioning import ask
from tests.support import permissions
from tests.support.fleets import fresh_base, loopback_fleet
from tests.support.pebble import Pebble
from tests.support.renewals import Renewals
from tests.support.zone_server import ZoneServer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("pebble") is None, reason="pebble isn't installed"),
]

ZONE, SENDER, OPERATOR = "acme.voip.test", "sip@example.com", "operator@example.com"
TLS = 5061
HOUR, DAY = 3600.0, 86_400.0


class Place:
    """A fleet with an authority and a name server."""

    def __init__(self, directory):
        self.base = fresh_base()
        self._names = f"{self.base.rpartition('.')[0]}.40"
        # What has its address in the environment of others is made first.
        environment = {
            "ACME_DIRECTORY": f"https://{self.base}:14000/dir", "ACME_ZONE": ZONE, "CERTIFICATE_MAIL": OPERATOR,
            "MAIL_FROM": SENDER, "PUBLIC_URL": "https://sip.example.com",
        }  # fmt: skip
        self.fleet = loopback_fleet(directory, self.base, 2, environment=environment)
        for edge in self.fleet.edges:
            edge.settings |= {
                "listen": [f"udp://{edge.sip}", f"tls://{edge.address}:{TLS}"], "certificate": "acme",
                "takeover": "hook", "takeover_hook": "true",
            }  # fmt: skip
        first, second = self.fleet.edges
        second.may_hold = [second.address, first.address]
        self.directory = directory
        self._environment = environment

    def start(self):
        self.fleet.start()
        self.dns = ZoneServer(self._names, self.fleet.endpoint)
        for zone in ("voip.test", ZONE):
            self.dns.make(zone)
        self.dns.make("private.test", private=True)
        self.pebble = Pebble(self.fleet.processes, self.directory, self.base, self.dns.address)
        self.renewals = self.renewing()
        development_client("sesv2", self.fleet.endpoint).create_email_identity(EmailIdentity=SENDER)

    def renewing(self, **more):
        """Another process of the function."""
        queue = development_client("sqs", self.fleet.endpoint).get_queue_url(QueueName="sipwizard-hooks")["QueueUrl"]
        return Renewals(
            {
                **os.environ, **DEVELOPMENT_CREDENTIALS, **self._environment, "HOOKS_QUEUE": queue,
                "TABLE_PREFIX": PREFIX, "PYTHONPATH": str(ROOT),
                "AWS_ENDPOINT_URL": self.fleet.endpoint, "SECRETS_KEY_FILE": str(self.directory / "secrets.key"),
                "REQUESTS_CA_BUNDLE": str(self.pebble.bundle), "DOMAIN_NAMESERVERS": self.dns.address, **more,
            }
        )  # fmt: skip

    def stop(self):
        self.renewals.kill()
        self.dns.close()
        self.fleet.stop()

    def api(self, method, path, body=None):
        return self.fleet.client.api(method, path, body)

    def domain(self, name, *aliases):
        self.api("POST", "/v1/domains", {"tenant": self.fleet.tenant, "name": name, "aliases": list(aliases)})

    def certificate(self, name):
        return self.api("GET", f"/v1/certificates/{name}")

    def renew(self, name):
        self.api("POST", f"/v1/certificates/{name}/renewal")

    def forget(self, **values):
        """What is kept of the authority is this instead."""
        development_client("dynamodb", self.fleet.endpoint).update_item(
            TableName=f"{PREFIX}-directory",
            Key={name: {"S": f"ACME#https://{self.base}:14000/dir"} for name in ("pk", "sk")},
            UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in values),
            ExpressionAttributeValues={f":{name}": value for name, value in values.items()},
        )

    def command(self, *words):
        """As a person with an administration key types it; its output."""
        environment = {"SIPWIZARD_API": self.fleet.api_url, "SIPWIZARD_KEY": self.fleet.client.key}
        return subprocess.run(
            [sys.executable, "-m", "lambdas.cli", *words],
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
            cwd=self.directory, capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip

    def events(self, tenant=None):
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        owner = f"&tenant={tenant}" if tenant else ""
        return [one["text"] for one in self.api("GET", f"/v1/events?day={day}&kind=certificate{owner}")["items"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("certificates"))
    made.start()
    try:
        yield made
    finally:
        made.stop()
    refused = [
        line for line in (made.directory / "control.log").read_text().splitlines() if permissions.REFUSED in line
    ]
    assert not refused, "template.yaml allows too little"


@pytest.fixture
def authority(place):
    """A new one for each test: Pebble forgets everything."""
    place.pebble.start(refused=30)
    yield place.pebble
    place.pebble.kill()


def test_a_name_in_a_zone_of_ours_and_one_that_leads_to_us_get_certificates_and_others_cost_no_order(place, authority):
    place.domain("pbx.voip.test", "pbx.example.com", "elsewhere.example.com", "in.private.test")
    target = alias_target("pbx.example.com", ZONE)
    place.dns.records["_acme-challenge.pbx.example.com", "CNAME"] = ["alias.example.com."]
    place.dns.records["alias.example.com", "CNAME"] = [f"{target}."]
    place.dns.records["_acme-challenge.elsewhere.example.com", "CNAME"] = [f"{target}."]
    said = place.renewals.run()
    assert "pbx.voip.test has a certificate" in said
    assert "pbx.example.com has a certificate" in said

    def seen():
        found = {one["name"]: one for one in place.api("GET", "/v1/domains/pbx.voip.test")["certificates"]}
        return found if found["pbx.example.com"]["state"] == "valid" else None

    shown = wait_for("the API to have it", seen, 10)
    assert {name: one["state"] for name, one in shown.items()} == {
        "pbx.voip.test": "valid", "pbx.example.com": "valid", "elsewhere.example.com": "waiting",
        "in.private.test": "waiting",
    }  # fmt: skip
    record = {"name": "_acme-challenge.elsewhere.example.com", "type": "CNAME"}
    wanted = {**record, "value": alias_target("elsewhere.example.com", ZONE)}
    assert shown["elsewhere.example.com"]["records"] == [wanted]
    assert f"leads to {target}" in shown["elsewhere.example.com"]["error"]
    assert "no CNAME record" in shown["in.private.test"]["error"]
    # What the authority looked at, it found; and nothing of it is left.
    assert "_acme-challenge.pbx.voip.test" in place.dns.asked
    assert target in place.dns.asked
    assert place.dns.texts("voip.test") == place.dns.texts(ZONE) == {}
    assert not place.renewals.run()  # nothing is due


def test_only_whose_domain_it_is_sees_its_certificate(place, authority):
    place.domain("mine.voip.test", "one.example.com", "two.example.com")
    place.renewals.run()
    other = place.api("POST", "/v1/tenants", {"name": "Other"})["id"]
    key = place.api("POST", "/v1/keys", {"tenant": other, "note": "other"})["key"]
    own = place.api("POST", "/v1/keys", {"tenant": place.fleet.tenant, "note": "own", "role": "read-only"})["key"]
    assert ask(place.fleet, key, "GET", "/v1/certificates/mine.voip.test")[0] == 404
    assert ask(place.fleet, key, "POST", "/v1/certificates/mine.voip.test/renewal")[0] == 404
    assert ask(place.fleet, key, "GET", "/v1/certificates")[1]["items"] == []
    assert ask(place.fleet, own, "POST", "/v1/certificates/mine.voip.test/renewal")[0] == 403
    assert ask(place.fleet, own, "GET", "/v1/certificates/mine.voip.test")[1]["state"] == "valid"
    admin = place.api("POST", "/v1/keys", {"tenant": place.fleet.tenant, "note": "admin", "role": "admin"})["key"]
    for name in ("one.example.com", "two.example.com"):
        asked = [ask(place.fleet, admin, "POST", f"/v1/certificates/{name}/renewal")[0] for _ in range(3)]
        assert asked == [202] * 3
    status, problem = ask(place.fleet, admin, "POST", "/v1/certificates/mine.voip.test/renewal")
    assert (status, problem["detail"].startswith("6 certificates")) == (429, True)
    listed = re.compile(r"mine\.voip\.test +valid +20\d\d-")  # which is some seconds old
    wait_for("the command to show it", lambda: listed.search(place.command("certificates")), 15)
    assert "is seen to within five minutes" in place.command("certificates", "renew", "mine.voip.test")
    assert "mine.voip.test has a certificate" in place.renewals.run()


def test_a_validation_that_fails_is_told_and_waits_and_the_certificate_of_before_stays(place, authority):
    place.domain("broken.voip.test")
    place.renewals.run()
    before = place.certificate("broken.voip.test")
    assert (before["state"], before["error"]) == ("valid", "")
    # Somebody else's record stands in the way of ours: resolvers follow it.
    place.dns.records["_acme-challenge.broken.voip.test", "CNAME"] = ["nowhere.example.com."]
    place.renew("broken.voip.test")
    place.renewals.run()
    after = place.certificate("broken.voip.test")
    assert (after["state"], after["not_after"]) == ("valid", before["not_after"])
    assert "leads to nowhere.example.com" in after["error"]
    # Somebody else's text stands there; what the authority has seen before it has forgotten.
    authority.kill()
    authority.start()
    del place.dns.records["_acme-challenge.broken.voip.test", "CNAME"]
    place.dns.records["_acme-challenge.broken.voip.test", "TXT"] = ['"of somebody else"']
    place.renew("broken.voip.test")
    said = place.renewals.run()
    assert "no certificate for broken.voip.test: unauthorized" in said
    after = place.certificate("broken.voip.test")
    assert (after["state"], after["not_after"]) == ("valid", before["not_after"])
    assert "unauthorized" in after["error"]
    assert after["next_attempt"] is not None
    assert any("broken.voip.test" in text for text in place.events(place.fleet.tenant))
    assert not place.renewals.run(ahead=0.5 * HOUR)  # no loop
    del place.dns.records["_acme-challenge.broken.voip.test", "TXT"]
    # Three times in an hour is what one may ask for.
    place.renew("broken.voip.test")
    assert ask(place.fleet, place.fleet.client.key, "POST", "/v1/certificates/broken.voip.test/renewal")[0] == 429
    assert "broken.voip.test has a certificate" in place.renewals.run()
    after = place.certificate("broken.voip.test")
    assert (after["state"], after["error"], after["not_after"] > before["not_after"]) == ("valid", "", True)


def test_an_authority_that_is_down_is_left_alone_and_its_account_found_again(place):
    place.domain("down.voip.test")
    said = place.renewals.run()
    assert "certificates can't be had" in said
    assert any("no certificates can be had" in text for text in place.events())
    assert not place.renewals.run()  # not before it has paused
    # When it is back it has forgotten our account, which is made anew with the same key.
    place.pebble.start(refused=0, reused=100)
    try:
        assert "down.voip.test has a certificate" in place.renewals.run(ahead=301)
        # And an account that we have forgotten, it finds by our key.
        place.forget(account={"S": ""})
        place.renew("down.voip.test")
        place.dns.asked.clear()
        assert "down.voip.test has a certificate" in place.renewals.run(ahead=301)
        assert "TXT" not in [kind for _, kind in place.dns.asked]  # it was valid from before
    finally:
        place.pebble.kill()


def test_an_order_goes_on_with_the_next_run_wherever_that_is(place, authority):
    place.domain("later.voip.test")
    said = place.renewals.run(seconds=0.7)
    assert "later.voip.test has a certificate" not in said
    assert place.certificate("later.voip.test")["state"] == "ordered"
    other_region = place.renewing(
        AWS_REGION="eu-west-1", AWS_DEFAULT_REGION="eu-west-1", LEASES_ENDPOINT_URL=place.fleet.endpoint
    )
    again = place.renewing()
    try:
        assert "somebody else's turn" in other_region.run()
        assert "later.voip.test has a certificate" in again.run()
    finally:
        again.kill()
        other_region.kill()


def test_the_operator_hears_once_of_certificates_that_end(place):
    place.pebble.start(refused=0, certificateValidityPeriod=int(90 * DAY))
    try:
        place.domain("short.voip.test")
        assert "short.voip.test has a certificate" in place.renewals.run()
    finally:
        place.pebble.kill()
    end = place.certificate("short.voip.test")["not_after"]
    assert 89 * DAY < end - time.time() < 91 * DAY
    place.renewals.run(ahead=75 * DAY)
    assert not any("short.voip.test ends soon" in text for text in place.events(place.fleet.tenant))
    for _ in range(2):
        place.renewals.run(ahead=77 * DAY)

    def mails():
        with urllib.request.urlopen(f"{place.fleet.endpoint}/_ministack/ses/messages") as reply:
            boxes = json.load(reply)["messages"].values()
        return [mail for box in boxes for mail in box if OPERATOR in mail["To"]]

    wait_for("the mail", mails, 20)
    (mail,) = mails()
    assert "Certificate of short.voip.test ends soon" in mail["Subject"]
    assert "ConnectionError" in json.dumps(mail)
    place.forget(paused_until={"N": "0"})  # of that time


def shown(edge, name, root, checks=True):
    """The certificate that a phone is shown, for ``name``; None if it isn't good, for that name unless that isn't
    checked."""
    context = ssl.create_default_context(cadata=root)
    context.check_hostname = checks
    try:
        with (
            socket.create_connection((edge.address, TLS), timeout=2) as plain,
            context.wrap_socket(plain, server_hostname=name) as stream,
        ):
            return stream.getpeercert(binary_form=True)
    except OSError:
        return None


def test_edges_serve_what_was_got_and_its_successor_without_a_restart_and_in_the_dark(place):
    place.pebble.start(refused=0)
    try:
        root = place.pebble.root()
        edges = place.fleet.edges
        for edge in edges:
            side = {"address": edge.address, "name": f"{edge.id}.voip.test"}
            place.api("PATCH", f"/v1/edges/{edge.id}", {"places": [side]})
        place.domain("tls.voip.test", "also.voip.test")
        place.renewals.run()
        names = ("tls.voip.test", "also.voip.test", "edge-b.voip.test", "edge-a.voip.test")
        for edge, has in [(edges[0], names[:2] + names[3:]), (edges[1], names)]:
            for name in has:
                wait_for(f"{edge.id} to have {name}", lambda edge=edge, name=name: shown(edge, name, root), 15)
        first = {edge.id: shown(edge, "tls.voip.test", root) for edge in edges}
        assert len(set(first.values())) == 1
        assert shown(edges[0], "also.voip.test", root) not in (None, first["edge-a"])  # a name has its own
        # Its own name's is for whoever asks for another one; those of others it has if it may hold their addresses.
        own = shown(edges[0], "edge-a.voip.test", root)
        assert own is not None
        assert shown(edges[0], "nobodys.voip.test", root, checks=False) == own
        assert shown(edges[0], "nobodys.voip.test", root) is None
        assert shown(edges[0], "edge-b.voip.test", root, checks=False) == own
        assert shown(edges[1], "edge-a.voip.test", root) == own
        place.renew("tls.voip.test")
        place.renewals.run()
        pids = [place.fleet.processes.pid(edge.id) for edge in edges]

        def renewed():
            found = {shown(edge, "tls.voip.test", root) for edge in edges}
            return found if len(found) == 1 and found.isdisjoint(first.values()) else None

        (second,) = wait_for("the next certificate", renewed, 15)
        assert [place.fleet.processes.pid(edge.id) for edge in edges] == pids
    finally:
        place.pebble.kill()
    end = x509.load_der_x509_certificate(second).not_valid_after_utc.timestamp()
    with urllib.request.urlopen(f"http://{edges[0].metrics}/metrics") as reply:
        metrics = reply.read().decode()
    (value,) = re.findall(r'sipwizard_certificate_expiry_seconds\{name="tls.voip.test"\} (\S+)', metrics)
    assert float(value) == end
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    given = [one["text"] for one in place.api("GET", f"/v1/events?day={day}&kind=audit")["items"]]
    assert any(text.startswith("edge edge-a was given the certificates and keys of") for text in given)
    assert not any("PRIVATE" in text for text in given)
    # Another edge takes the address over, and with it the name.
    place.fleet.drain(edges[0])
    assert wait_for("the address to be there", lambda: shown(edges[0], "edge-a.voip.test", root), 20) == own
    # Without control plane, and started anew: from the disk.
    place.fleet.processes.stop("control")
    place.fleet.processes.kill("edge-b")
    place.fleet.start_edge(edges[1])
    assert wait_for("the edge to be back", lambda: shown(edges[1], "tls.voip.test", root), 20) == second
    assert shown(edges[0], "edge-a.voip.test", root) == own
    state = b"".join(path.read_bytes() for path in (place.directory / "edge-b.state").iterdir() if path.is_file())
    assert b"PRIVATE KEY" not in state
