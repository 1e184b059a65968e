"""One tenant can't see, guess or affect another's anything: every route of the public document is walked with another
tenant's key, with every identifier of the victim's, named and unnamed, and with identifiers that nobody has."""

from __future__ import annotations

import datetime
import json
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.test_provisioning import ask

pytestmark = pytest.mark.integration

EDGE = "edge-a"
KEY, RSA_KEY = (
    key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048))
)
PLAN = {"rules": [{"name": "all", "as_dialled": True}]}


class Victim:
    """A tenant with one of everything."""

    def __init__(self, fleet):
        self.fleet = fleet
        mark = secrets.token_hex(4)
        self.tenant = fleet.client.api("POST", "/v1/tenants", {"name": f"Victim {mark}"})["id"]
        self.domain = f"victim-{mark}.example.com"
        fleet.client.api("POST", "/v1/domains", {"tenant": self.tenant, "name": self.domain})
        self.aor = fleet.client.api("POST", "/v1/accounts", {"username": "alice", "domain": self.domain})["aor"]
        key = fleet.client.api("POST", "/v1/keys", {"tenant": self.tenant, "note": f"key of {mark}"})
        self.key, self.key_id = key["key"], key["id"]
        self.name = f"voip-{mark}"
        provider = {"name": self.name, "host": "198.51.100.7", "username": f"user-{mark}", "password": "secret-of-it"}
        fleet.client.api("POST", "/v1/providers", {"tenant": self.tenant, "registers": False, **provider})
        body = {"plan": PLAN, "note": f"note of {mark}", "publish": True}
        fleet.client.api("POST", f"/v1/plans/{self.name}/versions?tenant={self.tenant}", body)
        fleet.client.api("PUT", f"/v1/store/{self.name}?tenant={self.tenant}", {"value": f"value of {mark}"})
        body = {"subject": f"mailto:{mark}@example.com"}
        fleet.client.api("PUT", f"/v1/push/webpush?tenant={self.tenant}", body)
        self.marks = (mark, self.tenant)

    def state(self):
        """Everything of it, as an administrator sees it."""
        query = f"tenant={self.tenant}"
        lists = [
            f"/v1/{kind}?{query}" for kind in ("domains", "accounts", "providers", "plans", "store", "keys", "push")
        ]
        ones = [
            f"/v1/tenants/{self.tenant}",
            f"/v1/plans/{self.name}/versions?{query}",
            f"/v1/accounts/{self.aor}/bindings",
        ]
        return json.dumps([self.fleet.client.api("GET", path) for path in (*lists, *ones)], sort_keys=True)


@pytest.fixture
def fleet(plane):
    return plane


@pytest.fixture
def victim(fleet):
    return Victim(fleet)


@pytest.fixture
def thief(fleet):
    """Another tenant's key, and a domain of its own."""
    tenant = fleet.client.api("POST", "/v1/tenants", {"name": "Thief"})["id"]
    domain = f"thief-{secrets.token_hex(4)}.example.com"
    fleet.client.api("POST", "/v1/domains", {"tenant": tenant, "name": domain})
    return fleet.client.api("POST", "/v1/keys", {"tenant": tenant, "note": "thief"})["key"], domain


def bodies(victim, own_domain):
    """What a thief would send: the victim's things named wherever a body has room for them."""
    provider = {"name": victim.name, "host": "198.51.100.8", "username": "u", "password": "p" * 8, "registers": False}
    return {
        ("POST", "/v1/tenants"): {"name": "Mine"},
        ("PATCH", "/v1/tenants/{tenant}"): {"country": "DE"},
        ("POST", "/v1/domains"): {"tenant": victim.tenant, "name": f"more-{own_domain}"},
        ("PATCH", "/v1/domains/{name}"): {"aliases": [f"alias-{own_domain}"]},
        ("POST", "/v1/accounts"): {"username": "mallory", "domain": victim.domain},
        ("PATCH", "/v1/accounts/{aor}"): {"enabled": False},
        ("POST", "/v1/accounts:import"): [{"username": "mallory", "domain": victim.domain}],
        ("POST", "/v1/accounts/{aor}/password"): {"password": "mine, now and later"},
        ("POST", "/v1/providers"): {"tenant": victim.tenant, **provider},
        ("PATCH", "/v1/providers/{name}"): {"enabled": False},
        ("POST", "/v1/plans/{name}/versions"): {"plan": PLAN, "publish": True},
        ("POST", "/v1/plans/{name}/publish"): {"version": 1},
        ("POST", "/v1/plans/{name}:simulate"): {"caller": "a", "called": victim.aor},
        ("PUT", "/v1/store/{key}"): {"value": "mine"},
        ("POST", "/v1/edges"): {"id": "edge-x", "public_key": "A" * 43 + "=", "addresses": ["203.0.113.99"]},
        ("POST", "/v1/keys"): {"tenant": victim.tenant},
        ("POST", "/v1/edges/tokens"): {"id": "edge-x", "addresses": ["203.0.113.99"]},
        ("PATCH", "/v1/tenants/{tenant}/bounds"): {"limits": {"calls_per_day": 0}},
        ("PUT", "/v1/tenants/{tenant}/suspension"): {"reason": "mine"},
        ("PUT", "/v1/accounts/{aor}/suspension"): {"reason": "mine"},
        ("POST", "/v1/bans"): {"network": "192.0.2.7"},
        ("POST", "/v1/public-networks"): {"network": "192.0.2.7"},
        ("POST", "/v1/members"): {"tenant": victim.tenant, "email": "mallory@example.com"},
        ("PATCH", "/v1/members/{email}"): {"role": "read-only"},
        ("PATCH", "/v1/edges/{edge}"): {"addresses": ["203.0.113.99"]},
        ("PATCH", "/v1/hooks/{name}"): {"url": "https://192.0.2.7/"},
        ("PUT", "/v1/push/apns"): {"key": KEY, "key_id": "KEY1234567", "team_id": "ABCDE12345"},
        ("PUT", "/v1/push/fcm"): {
            "service_account": {
                "type": "service_account",
                "project_id": "mine",
                "private_key": RSA_KEY,
                "client_email": "mallory@example.com",
            }
        },
        ("PUT", "/v1/push/webpush"): {"subject": "mailto:mallory@example.com"},
        ("POST", "/v1/hooks"): {
            "tenant": victim.tenant,
            "name": victim.name,
            "url": "https://192.0.2.7/",
            "events": ["call.ended"],
        },
    }


PUBLIC = {"/v1/edges/enrol", "/v1/login", "/v1/login/confirm", "/v1/signup", "/v1/signup/confirm"}


def test_every_route_with_anothers_key(fleet, victim, thief):
    key, own_domain = thief
    before = victim.state()
    document = fleet.client.request("GET", "/v1/openapi.json")[1]
    wanted = bodies(victim, own_domain)
    walked = set()
    names = {
        "tenant": victim.tenant,
        "aor": victim.aor,
        "edge": EDGE,
        "binding": "AAAAAAAAAAA",
        "version": 1,
        "network": "192.0.2.7",
        "email": "ann@example.com",
        "service": "webpush",
    }
    for template, operations in document["paths"].items():
        for method, operation in operations.items():
            method = method.upper()
            place = (method, template)
            if template in PUBLIC:  # no key is asked for: tests/integration/test_members.py
                walked.add(place)
                continue
            keys = {"key": victim.key_id if template.startswith("/v1/keys") else victim.name}
            name = victim.domain if template.startswith("/v1/domains") else victim.name
            path = template.format(**names, **keys, name=name)
            asked = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
            day = f"&day={datetime.datetime.now(datetime.UTC).date()}" if "day" in asked else ""
            day += "&format=json" if "format" in asked else ""
            tries = [f"{path}?{day}"]
            if "tenant" in asked:
                tries.append(f"{path}?tenant={victim.tenant}{day}")
            if operation.get("requestBody"):
                assert place in wanted, f"{place}: say what a thief would send"
            for one in tries:
                status, answer = ask(fleet, key, method, one, wanted.get(place))
                text = json.dumps(answer)
                named = "tenant=" in one or "{" in template or place in wanted
                # Without the victim's name it is about the thief's own: nothing of it is the victim's.
                if named and "tenant=" not in one and "tenant" in asked:
                    assert status in (200, 201, 204, 400, 404, 422), (place, one, status, text)
                elif named:
                    assert status in (403, 404), (place, one, status, text)
                else:
                    assert status in (200, 403), (place, one, status, text)
                if template == "/v1/events" and status == 200:  # what was done to the thief's own things
                    assert {event["about"] for event in answer["items"]} <= {
                        key.split("_")[1],
                        fleet.client.key.split("_")[1],
                    }
                    walked.add(place)
                    continue
                told = [mark for mark in victim.marks if mark in text and mark not in f"{one} {wanted.get(place)}"]
                assert not told or status == 404, (place, one, text)
                walked.add(place)
    assert {(method.upper(), path) for path, operations in document["paths"].items() for method in operations} == walked
    assert victim.state() == before


def test_what_isnt_there_and_what_is_anothers_look_the_same(fleet, victim, thief):
    """Else names could be guessed."""
    key, own_domain = thief
    for mine, nobodys in (
        (f"/v1/tenants/{victim.tenant}", "/v1/tenants/t000000000000"),
        (f"/v1/accounts/{victim.aor}", f"/v1/accounts/nobody@{own_domain}"),
        (f"/v1/domains/{victim.domain}", "/v1/domains/nobody.example.org"),
        (f"/v1/providers/{victim.name}", "/v1/providers/nobody"),
        (f"/v1/plans/{victim.name}", "/v1/plans/nobody"),
        (f"/v1/store/{victim.name}", "/v1/store/nobody"),
        (f"/v1/accounts/{victim.aor}/bindings", f"/v1/accounts/nobody@{own_domain}/bindings"),
        (f"/v1/providers/{victim.name}?tenant={victim.tenant}", "/v1/providers/nobody?tenant=t000000000000"),
    ):
        texts = []
        for path in (mine, nobodys):
            status, answer = ask(fleet, key, "GET", path)
            assert status == 404, path
            texts.append(json.dumps(answer).replace(path.rpartition("/")[2].partition("?")[0], "X"))
        generic = [
            text.replace(victim.aor, "X")
            .replace(f"nobody@{own_domain}", "X")
            .replace(victim.tenant, "X")
            .replace("t000000000000", "X")
            for text in texts
        ]
        assert generic[0] == generic[1], mine


def test_names_of_others_in_plans_lead_nowhere(fleet, victim, thief):
    """A leg, a forwarding or a condition that names the victim's account finds nobody."""
    key, own_domain = thief
    ask(fleet, key, "POST", "/v1/accounts", {"username": "mallory", "domain": own_domain})
    legs = [{"account": victim.aor}, {"uri": f"sip:{victim.aor}"}, {"number": "+4420", "providers": [victim.name]}]
    for rule in ({"ring": {"legs": legs}}, {"forward": victim.aor}, {"when": {"registered": victim.aor}, "reject": {}}):
        plan = {"rules": [{"name": "x", **rule}]}
        assert ask(fleet, key, "POST", "/v1/plans/spy/versions", {"plan": plan, "publish": True})[0] == 201
        shown = ask(fleet, key, "POST", "/v1/plans/spy:simulate", {"caller": "a", "called": f"mallory@{own_domain}"})[1]
        if "when" in rule:
            assert shown["rules"][0]["outcome"] == f"{victim.aor} has no phone registered"
    fleet.client.api("PATCH", f"/v1/accounts/{victim.aor}", {"do_not_disturb": True})
    plan = {"rules": [{"name": "x", "when": {"do_not_disturb": victim.aor}, "reject": {}}]}
    ask(fleet, key, "POST", "/v1/plans/spy/versions", {"plan": plan, "publish": True})
    shown = ask(fleet, key, "POST", "/v1/plans/spy:simulate", {"caller": "a", "called": "b"})[1]
    assert shown["rules"][0]["outcome"] == f"{victim.aor} may be disturbed"
