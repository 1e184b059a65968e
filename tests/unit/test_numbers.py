"""What a dialled number means, how it goes out, and who may read a provider's password."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge.providers.sdp import published
from lambdas.contract import Reject, Route
from lambdas.decisions import outbound
from lambdas.decisions.numbers import read, write
from lambdas.decisions.provider import StoredProvider, StoredRoute, TenantSettings, Way
from lambdas.decisions.values import StoredAccount
from lambdas.repositories.vault import Unsealed, Vault

ALICE = StoredAccount("alice@example.com", "t1", "", "")


@pytest.mark.parametrize(
    ("dialled", "country", "e164"),
    [
        ("02079460000", "GB", "+442079460000"),
        ("020-7946-0000", "GB", "+442079460000"),
        ("+44(20)79460000", "DE", "+442079460000"),
        ("0044 20 7946 0000", "DE", "+442079460000"),
        ("011442079460000", "US", "+442079460000"),
        ("02079460000", "", ""),
        ("100", "GB", ""),
        ("*97", "GB", ""),
    ],
)
def test_numbers_in_their_country(dialled, country, e164):
    number = read(dialled, country)
    assert (number.e164, number.emergency) == (e164, False)


@pytest.mark.parametrize(
    ("dialled", "country", "judged", "clear"),
    [
        ("09098790000", "GB", "+449098790000", True),
        ("*31#00449098790000", "GB", "+449098790000", True),
        ("*31#09098790000", "GB", "+449098790000", True),
        ("#31#+449098790000", "GB", "+449098790000", True),
        ("14109098790000", "GB", "+449098790000", True),
        ("01511999991234", "BR", "+5511999991234", True),
        ("1332200000", "GB", "+441332200000", True),
        ("100", "GB", "100", True),
        ("11833", "DE", "11833", True),
        ("090987900009999999", "GB", "090987900009999999", False),
        ("004490987900009999", "GB", "004490987900009999", False),
        ("0000449098790000", "GB", "0000449098790000", False),
        ("5551234", "US", "5551234", False),
        ("112*09098790000", "GB", "112*09098790000", False),
        ("99909098790000", "GB", "99909098790000", False),
        ("*97", "GB", "*97", False),
        ("02079460000", "", "02079460000", False),
        ("100", "", "100", False),
    ],
)
def test_what_limits_go_by_and_whether_it_can_be_told_where_that_leads(dialled, country, judged, clear):
    number = read(dialled, country)
    assert (number.judged, number.clear, number.refused) == (judged, clear, "")
    assert read(judged, country).judged == judged


@pytest.mark.parametrize(
    ("dialled", "country", "reason"),
    [
        ("+0449098790000", "GB", "+0"),
        ("141+0449098790000", "GB", "+0"),
        ("128009098790000", "GB", "1280"),
        ("1010288 2125550123", "US", "1010288"),
        ("01013 0900 1234567", "DE", "carrier"),
        ("1616 0899123456", "FR", "1616"),
        ("1055 899123456", "IT", "1055"),
        ("1050 803123456", "ES", "1050"),
        ("1456 1900123456", "AU", "1456"),
        ("*67*829005550123", "US", "*82 is one code too many"),
        ("#31#*31#02079460000", "GB", "*31# is one code too many"),
    ],
)
def test_what_nobody_may_dial(dialled, country, reason):
    assert reason in read(dialled, country).refused
    assert isinstance(outbound.choose(dialled, (), TenantSettings(country)), Reject)


@pytest.mark.parametrize(
    ("dialled", "country", "hidden"),
    [
        ("*67 212 555 0123", "US", True),
        ("1167 212 555 0123", "CA", True),
        ("*82 212 555 0123", "US", False),
        ("141 020 7946 0000", "GB", True),
        ("1470 020 7946 0000", "GB", False),
        ("0141 234 5678", "GB", False),
        ("*31#030 123456", "DE", True),
        ("#31#030 123456", "DE", True),
        ("*31#0412 345 678", "AU", False),
        ("1831 0412 345 678", "AU", True),
        ("1832 0412 345 678", "AU", False),
        ("3651 01 42 68 53 00", "FR", True),
        ("*67#06 1234 5678", "IT", True),
        ("067 912 345 678", "ES", True),
        ("*67 11 99999 1234", "BR", True),
        ("#31#+442079460000", "", True),
        ("141999", "GB", False),  # whoever helps has to call back
    ],
)
def test_codes_of_the_callers_own_number(dialled, country, hidden):
    number = read(dialled, country)
    assert (number.hidden, number.clear, number.refused) == (hidden, number.clear, "")
    assert number.emergency or number.e164


@pytest.mark.parametrize(
    ("dialled", "country", "premium", "international"),
    [
        ("02079460000", "GB", False, False),
        ("08001111111", "GB", False, False),
        ("+18005550123", "CA", False, False),
        ("09098790000", "GB", True, False),
        ("0900 1234567 890", "DE", True, False),  # of a length that is possible, but the exchange stops listening
        ("07012345678", "GB", True, False),
        ("118500", "GB", True, False),
        ("100", "GB", False, False),
        ("+4930123456", "GB", False, True),
        ("+18765551234", "US", False, True),
        ("+441534456789", "GB", False, True),
        ("+442079460000", "JE", False, False),
        ("+881612345678", "GB", True, True),
        ("+979123456789", "GB", True, True),
        ("+442079460000", "", False, True),
    ],
)
def test_kinds_of_numbers(dialled, country, premium, international):
    number = read(dialled, country)
    assert (number.premium, number.international) == (premium, international)


@pytest.mark.parametrize("text", ["", "+", "alice", "12a", "1" * 33, "sip:1", "１２３"])
def test_what_is_no_number(text):
    assert read(text, "GB") is None


@pytest.mark.parametrize(
    ("dialled", "country", "emergency"),
    [
        ("999", "GB", True),
        ("112", "GB", True),
        ("112", "US", True),
        ("911", "US", True),
        ("911", "", True),
        ("110", "DE", True),
        ("110", "GB", False),
        ("9991", "GB", False),
        ("+112", "GB", True),
        ("*31#112", "GB", True),
        ("#31#999", "GB", True),
        ("*67911", "US", True),
        ("141999", "GB", True),
        ("99909098790000", "GB", False),
        ("112*0909", "GB", False),
        ("9116666666", "US", False),
        ("**911", "US", False),
    ],
)
def test_emergency_numbers(dialled, country, emergency):
    assert read(dialled, country).emergency == emergency


FORMS = ("e164", "digits", "national", "dialled")


@pytest.mark.parametrize(
    ("dialled", "country", "written"),
    [
        ("02079460000", "GB", ("+442079460000", "442079460000", "02079460000", "02079460000")),
        ("+442079460000", "GB", ("+442079460000", "442079460000", "02079460000", "02079460000")),
        # In the tenant's country +33 909... isn't 0909...
        ("+33909879000", "GB", ("+33909879000", "33909879000", "0033909879000", "+33909879000")),
        ("+33909879000", "BR", ("+33909879000", "33909879000", "+33909879000", "+33909879000")),
        ("+442079460000", "", ("+442079460000", "442079460000", "+442079460000", "+442079460000")),
        ("100", "GB", ("100",) * 4),
        ("*31#999", "GB", ("999",) * 4),
    ],
)
def test_how_providers_want_numbers(dialled, country, written):
    assert tuple(write(read(dialled, country), form) for form in FORMS) == written


def test_the_longest_prefix_counts_and_failures_go_on():
    settings = TenantSettings(
        "GB", (), (StoredRoute("", ("a",)), StoredRoute("+44", ("b", "a")), StoredRoute("+1", ("c",)))
    )
    assert outbound.choose("02079460000", (), settings).providers == ("b", "a")
    assert outbound.choose("+12125550100", (), settings).providers == ("c",)
    assert outbound.choose("+4930123456", (), settings).providers == ("a",)
    assert outbound.choose("+4930123456", ("d",), settings).providers == ("d",)
    assert outbound.choose("alice", ("d",), settings) is None
    assert isinstance(outbound.choose("999", "a", settings), Reject)


def test_identities_and_whose_provider_it_is():
    def leg(account=ALICE, **kwargs):
        provider = StoredProvider("t1/v", "t1", "sip.v.test", "4420", "secret", **kwargs)
        choice = outbound.choose("02079460000", "v", TenantSettings("GB"))
        found = outbound.through(choice, [Way(provider, "203.0.113.11", {"udp": 5061})], account)
        if isinstance(found, Reject):
            return found
        assert isinstance(found, Route)
        assert found.targets[0].flow == ("203.0.113.11", 5061, "udp", "", 0, 0)
        return found.targets[0].provider

    assert leg().from_value == "<sip:4420@sip.v.test>"
    assert leg(caller_id="+441").from_value == "<sip:+441@sip.v.test>"
    asserted = leg(caller_id="+441", caller_id_in="p-asserted-identity", display_name="Shop")
    assert asserted.from_value == '"Shop" <sip:4420@sip.v.test>'
    assert asserted.headers == ["P-Asserted-Identity: <sip:+441@sip.v.test>"]
    own = StoredAccount("alice@example.com", "t1", "", "", caller_id="+442")
    assert leg(own, caller_id="+441").from_value == "<sip:+442@sip.v.test>"
    assert leg(own, caller_id_in="none").from_value == "<sip:4420@sip.v.test>"
    assert leg(enabled=False).status == 404
    assert leg(StoredAccount("eve@example.org", "t2", "", "")).status == 404


def test_sealed_for_one_owner_only(tmp_path, monkeypatch):
    key = tmp_path / "key"
    key.write_bytes(base64.b64encode(bytes(32)))
    monkeypatch.setenv("SECRETS_KEY_FILE", str(key))
    sealed = Vault().seal("provider", "t1/voip", "secret")
    assert "secret" not in sealed
    assert Vault().open("provider", "t1/voip", sealed) == "secret"
    with pytest.raises(Unsealed):
        Vault().open("provider", "t2/voip", sealed)
    with pytest.raises(Unsealed):
        Vault().open("hook", "t1/voip", sealed)
    of_before = (
        "file:" + base64.b64encode(bytes(12) + AESGCM(bytes(32)).encrypt(bytes(12), b"old", b"t1/voip")).decode()
    )
    assert Vault().open("provider", "t1/voip", of_before) == "old"
    key.write_bytes(base64.b64encode(bytes(31) + b"x"))
    with pytest.raises(Unsealed):
        Vault().open("provider", "t1/voip", sealed)
    monkeypatch.delenv("SECRETS_KEY_FILE")
    with pytest.raises(Unsealed, match="SECRETS_KEY_ID"):
        Vault().seal("provider", "t1/voip", "secret")


def test_descriptions_name_no_home():
    body = (
        b"v=0\no=- 1 1 IN IP4 192.168.0.5\nc=IN IP4 100.64.0.5/127\na=rtcp:5001 IN IP4 10.0.0.1\r\n"
        b"a=candidate:1 1 UDP 1 192.168.0.5 5000 typ host\na=candidate:2 1 UDP 1 8.8.8.8 5000 typ srflx\nc=IN IP4 0.0.0.0\n"
    )
    assert published(body, "application/sdp", "8.8.4.4")[0] == (
        b"v=0\no=- 1 1 IN IP4 8.8.4.4\nc=IN IP4 8.8.4.4/127\na=rtcp:5001 IN IP4 8.8.4.4\r\n"
        b"a=candidate:2 1 UDP 1 8.8.8.8 5000 typ srflx\nc=IN IP4 0.0.0.0\n"
    )
    assert published(body, "text/plain", "8.8.4.4") == (body, False)
