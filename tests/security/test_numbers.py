"""What is charged is what is sent: whatever is dialled, in whatever country, whichever code stands before it."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from dataclasses import replace

import phonenumbers
import pytest
from phonenumbers import PhoneNumberFormat, PhoneNumberType, ShortNumberCost, shortnumberinfo

from lambdas.calls.admission import Admission
from lambdas.calls.facts import BUSY
from lambdas.calls.media import MediaEnd
from lambdas.calls.request import CallRequest
from lambdas.contract import Credentials, Keep, Reject, Route, RouteQuestion
from lambdas.decisions import outbound
from lambdas.decisions.abuse import Rules
from lambdas.decisions.barring import dark
from lambdas.decisions.limits import CallLimits, NumberRate
from lambdas.decisions.numbers import Number, read
from lambdas.decisions.provider import StoredProvider, StoredRoute, TenantSettings, Way
from lambdas.decisions.values import StoredAccount
from lambdas.repositories.items import tenant_item
from lambdas.repositories.models import TenantItem
from tests.support.control import DOMAIN, Control

NOW = 1_800_000_000.0
SAMPLES = None if os.environ.get("LONG") else 5_000
FORMS = ("e164", "digits", "national", "dialled")
CODES = (
    "", "*67", "*82", "1167", "141", "1470", "*31#", "#31#", "*31*", "3651", "*67#", "067", "1831", "1832", "01013",
    "010057", "1616", "1055", "1050", "1456", "14560011", "1010288", "1280", "18866", "015", "0015", "*43#", "*21*", "**",
    "#", "*#31#", "999", "112", "112*", "911#", "0", "9", "*67*82", "#31#*31#",
)  # fmt: skip
SPELLINGS = {
    "E.164": lambda national, e164: e164,
    "zero after the plus": lambda national, e164: f"+0{e164[1:]}",
    "00": lambda national, e164: f"00{e164[1:]}",
    "011": lambda national, e164: f"011{e164[1:]}",
    "national": lambda national, e164: national,
    "with separators": lambda national, e164: f"({national[:3]}) {national[3:5]}-{national[5:]}",
    "a digit more": lambda national, e164: f"{national}9",
    "four digits more": lambda national, e164: f"{national}0000",
    "four digits more abroad": lambda national, e164: f"{e164}0000",
    "no trunk prefix": lambda national, e164: national.lstrip("0"),
}
COSTLY = (PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST, PhoneNumberType.PERSONAL_NUMBER)
ALICE = StoredAccount(f"alice@{DOMAIN}", "t1", "", "")
PROVIDERS = {form: StoredProvider(f"t1/{form}", "t1", f"{form}.test", "44", "x", number_format=form) for form in FORMS}
WAYS = [Way(provider, "203.0.113.11", {}) for provider in PROVIDERS.values()]


def cases():
    """(region, an expensive number there in E.164 form, what is dialled)."""
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in (*COSTLY, PhoneNumberType.MOBILE):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is None:
                continue
            e164 = phonenumbers.format_number(example, PhoneNumberFormat.E164)
            written = phonenumbers.format_number(example, PhoneNumberFormat.NATIONAL)
            national = "".join(char for char in written if char.isdecimal())
            for spelling, code in itertools.product(SPELLINGS.values(), CODES):
                yield region, e164, code + spelling(national, e164)


def sampled():
    found = list(cases())
    return found if SAMPLES is None else random.Random(5060).sample(found, SAMPLES)


def question(called, caller=ALICE.aor, attempt="1", **kwargs):
    credentials = Credentials(username=caller.partition("@")[0], realm=DOMAIN, nonce="n", uri="sip:x", response="")
    flow = ("203.0.113.11", 5060, "udp", "192.0.2.9", 5060, 0)
    return RouteQuestion(
        method="INVITE", caller=caller, called=called, credentials=credentials, call_id=f"c{attempt}", flow=flow,
        address="203.0.113.11", epoch=1, attempt=attempt, request=attempt, **kwargs,
    )  # fmt: skip


def sent(dialled, settings, payer=ALICE):
    """What leaves by providers that want numbers in each of the forms: {form: (user of the Request-URI, of To, number
    that is charged)}; empty if it is refused."""
    choice = outbound.choose(dialled, (), settings)
    if choice is None or isinstance(choice, Reject):
        return {}
    route = outbound.through(choice, WAYS, payer)
    asked = question(f"{dialled}@{DOMAIN}")
    request = CallRequest(asked, payer, payer.aor, asked.called, settings, NOW, MediaEnd())
    admitted = Admission(request, lambda aor: None, Control(lambda: NOW).facts).admit(route)
    if isinstance(admitted, Reject):
        assert admitted.status == 403
        return {}
    assert isinstance(admitted, Route)
    return {
        target.provider.id.partition("/")[2]: (
            *(uri.removeprefix("sip:").partition("@")[0] for uri in (target.uri, target.provider.to_uri)),
            target.provider.number,
        )
        for target in (admitted.targets[0], *admitted.targets[0].instead)
    }


def meant(form, user, region):
    """What a provider takes ``user`` for: what could be a short number, for one."""
    if user.isdecimal() and len(user) <= 6:
        return user
    if form == "digits":
        return f"+{user}"
    try:
        return phonenumbers.format_number(phonenumbers.parse(user, region), PhoneNumberFormat.E164)
    except phonenumbers.NumberParseException:
        return user


def test_what_leaves_is_what_was_judged_in_every_country_behind_every_code():
    passed = 0
    for region, e164, dialled in sampled():
        blocked = e164[:6]
        settings = TenantSettings(
            region, routes=(StoredRoute("", FORMS),), limits=CallLimits(blocked_prefixes=(blocked,)), tenant="t1"
        )
        for form, (user, to, charged) in sent(dialled, settings).items():
            where = (region, e164, dialled, form, user, charged)
            assert user == to, where
            assert not charged.startswith(blocked), where
            if charged.startswith("+"):
                assert meant(form, user, region) == charged, where
            else:  # a short number, as it is
                assert user == charged, where
                assert user.isdecimal(), where
                assert len(user) <= 6, where
            passed += 1
    assert passed > 100  # not everything is refused


BARRED = {"premium": False, "international": False}


def test_directory_enquiries_are_premium_where_the_plan_of_the_world_has_room_for_them():
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        settings = TenantSettings(region, routes=(StoredRoute("", FORMS),), tenant="t1", **BARRED)
        for dialled in ("11811", "118000", "118014", "118899"):
            for form, (user, _, charged) in sent(dialled, settings).items():
                where = (region, dialled, form, user)
                assert phonenumbers.is_valid_number(phonenumbers.parse(charged)), where  # somebody's telephone
                assert user != dialled, where


def test_a_short_number_behind_a_countrys_code_never_leaves_as_one():
    """+49 11833 is charged as itself, and isn't 11833 to anybody."""
    tried = 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        code = phonenumbers.country_code_for_region(region)
        found = shortnumberinfo._example_short_number_for_cost(region, ShortNumberCost.PREMIUM_RATE)
        for short in {found, "11833", "118000"} - {""}:
            for dialled in (f"+{code}{short}", f"00{code}{short}", f"011{code}{short}", f"0{short}"):
                for barred in ({}, BARRED):
                    settings = TenantSettings(region, routes=(StoredRoute("", FORMS),), tenant="t1", **barred)
                    for form, (user, to, charged) in sent(dialled, settings).items():
                        where = (region, dialled, form, user, charged)
                        assert user == to, where
                        assert charged in (user, f"+{user}", meant(form, user, region)), where
                        assert user != short or short == charged, where
                        assert not (barred and user == short and read(short, region).premium), where
                        tried += 1
    assert tried > 100


def calls_for_help(text, region):
    """Whether somebody in ``region`` who reads ``text`` would call for help."""
    if shortnumberinfo.is_emergency_number(text, region) or text == "112":
        return True
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return False
    if phonenumbers.is_valid_number(parsed):
        return False
    there = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(parsed.country_code, ())
    there = (region,) if region in there else there
    return any(shortnumberinfo.is_emergency_number(str(parsed.national_number), one) for one in there)


def test_nothing_leaves_as_a_call_for_help_that_was_not_judged_as_one():
    """In every country, its own and others' emergency numbers behind whatever there is to dial before a number."""
    found = {True: 0, False: 0}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        code = phonenumbers.country_code_for_region(region)
        settings = TenantSettings(region, routes=(StoredRoute("", FORMS),), emergency=FORMS, tenant="t1")
        own = [one for one in ("110", "112", "119", "911", "999", "000") if calls_for_help(one, region)]
        befores = ("", "0", "1", "9", f"+{code}", f"+{code}0", f"00{code}", f"011{code}", "+49", "0049", "+1", "+39")
        for before, number, code_before in itertools.product(befores, {*own, "112", "999"}, ("", "141", "*67")):
            dialled = code_before + before + number
            judged = read(dialled, region)
            for form, (user, to, charged) in sent(dialled, settings).items():
                where = (region, dialled, form, user, charged)
                assert user == to, where
                assert judged.emergency or not calls_for_help(user, region), where
                assert not judged.emergency or calls_for_help(user, region), where
                found[judged.emergency] += 1
    assert min(found.values()) > 100


@pytest.mark.parametrize(
    ("country", "dialled", "number"),
    [("GB", "+44999", "999"), ("GB", "0044999", "999"), ("DE", "+49112", "112"), ("US", "+1911", "911")],
)
def test_a_call_for_help_with_the_countrys_code_is_one(country, dialled, number):
    found = read(dialled, country)
    assert (found.emergency, found.judged, found.refused) == (True, number, "")


@pytest.mark.parametrize(
    ("country", "dialled"), [("GB", "+49112"), ("GB", "0999"), ("DE", "0112"), ("", "+44999"), ("AU", "0000")]
)
def test_no_one_elses_call_for_help_is_made(country, dialled):
    found = read(dialled, country)
    assert not found.emergency
    assert "is for emergencies; dial it alone" in found.refused


def test_national_numbers_are_of_the_tenants_own_country():
    """Whatever is abroad leaves with what is dialled before such numbers, or in its E.164 form."""
    settings = TenantSettings("GB", routes=(StoredRoute("", FORMS),), tenant="t1")
    assert {form: user for form, (user, _, _) in sent("0039061234567", settings).items()} == {
        "e164": "+39061234567", "digits": "39061234567", "national": "0039061234567", "dialled": "+39061234567",
    }  # fmt: skip
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        settings = TenantSettings(region, routes=(StoredRoute("", FORMS),), tenant="t1")
        for other in ("IT", "GB", "DE", "NO", "SG"):
            code = phonenumbers.country_code_for_region(other)
            if code == phonenumbers.country_code_for_region(region):
                continue
            number = phonenumbers.example_number_for_type(other, PhoneNumberType.FIXED_LINE)
            e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
            for form, (user, _, charged) in sent(e164, settings).items():
                assert user.partition(e164[1:])[1:] == (e164[1:], ""), (region, e164, form, user)
                assert charged == e164


def test_a_number_that_begins_like_a_call_for_help_leaves_in_its_e164_form():
    settings = TenantSettings("BW", routes=(StoredRoute("", FORMS),), tenant="t1")
    assert {user for user, _, _ in sent("+2679975446", settings).values()} == {"+2679975446", "2679975446"}


@pytest.mark.parametrize(
    ("country", "dialled"),
    [
        ("DE", "+4911833"), ("DE", "004911888"), ("DE", "0118000"), ("AT", "+43118899"), ("SE", "0118118"),
        ("PL", "+48118000"), ("LU", "+35211888"), ("ZA", "+2741348"), ("DE", "118014"), ("FI", "118200"),
        ("RO", "118000"),
    ],
)  # fmt: skip
def test_costly_short_numbers_are_barred_however_they_are_dialled(country, dialled):
    assert sent(dialled, TenantSettings(country, routes=(StoredRoute("", FORMS),), tenant="t1", **BARRED)) == {}
    assert read(dialled, country).premium or not read(dialled, country).clear
    assert not dark(read(dialled, country), TenantSettings(country))


@pytest.mark.parametrize(
    ("country", "dialled"),
    [
        ("GB", "0982123456"), ("GB", "0901123456"), ("GB", "09300000000"), ("DE", "0900405665"), ("AU", "1907700661"),
        ("AU", "190012345"), ("SG", "1904686753"), ("IL", "1919262730"), ("ES", "905123456"),
    ],
)  # fmt: skip
def test_numbers_that_nobody_is_known_to_have_need_a_prefix(country, dialled):
    settings = TenantSettings(country, routes=(StoredRoute("", FORMS),), tenant="t1", **BARRED)
    assert sent(dialled, settings) == {}
    assert not dark(read(dialled, country), settings)
    wide = f"+{phonenumbers.country_code_for_region(country)}"  # a country, and no range of it
    assert sent(dialled, replace(settings, limits=CallLimits(allowed_prefixes=(wide,)))) == {}
    assert sent(dialled, replace(settings, premium=True, international=True))


@pytest.mark.parametrize(
    ("country", "prefix", "digits"),
    [
        ("US", "+1876", 7),
        ("US", "+1900", 7),
        ("US", "+1664", 7),
        ("RU", "+77", 9),
        ("GB", "+447797", 6),
        ("GB", "+441534", 6),
    ],
)
def test_no_number_of_another_territory_is_the_countrys_own(country, prefix, digits):
    settings = TenantSettings(country, routes=(StoredRoute("", FORMS),), tenant="t1", **BARRED)
    made = random.Random(5060)
    for _ in range(100):
        number = prefix + "".join(made.choice("0123456789") for _ in range(digits))
        assert sent(number, settings) == {}, number


def test_a_range_that_is_newer_than_what_is_known_of_it_can_be_allowed():
    """Numbers for films are in no list, and are somebody's telephone as much as any."""
    control = office(premium=False)
    refused = control.decide(asked(f"07700900123@{DOMAIN}"))
    assert (refused.status, "allowed_prefixes may name it" in refused.reason) == (403, True)
    control.settings = replace(control.settings, limits=CallLimits(allowed_prefixes=("+44", "+447700900")))
    assert isinstance(control.decide(asked(f"07700900123@{DOMAIN}", "2")), Route)


def test_international_freephone_is_abroad_nowhere():
    for country in ("GB", "DE", "US", ""):
        assert not read("+80012345678", country).international
    settings = TenantSettings("GB", routes=(StoredRoute("", FORMS),), tenant="t1", **BARRED)
    assert {charged for _, _, charged in sent("0080012345678", settings).values()} == {"+80012345678"}


@pytest.mark.parametrize(("country", "dialled"), [("MX", "+5215512345678"), ("US", "+5215512345678")])
def test_mexican_mobiles_are_called_as_they_are_today(country, dialled):
    settings = TenantSettings(country, routes=(StoredRoute("", FORMS),), premium=False, tenant="t1")
    found = sent(dialled, settings)
    assert found["e164"] == ("+525512345678",) * 3
    assert {charged for _, _, charged in found.values()} == {"+525512345678"}


def test_a_new_tenants_calls_cost_little_in_every_country_behind_every_code():
    passed = 0
    for region, e164, dialled in sampled():
        settings = TenantSettings(region, routes=(StoredRoute("", FORMS),), premium=False, international=False)
        for form, (user, _, charged) in sent(dialled, settings).items():
            where = (region, e164, dialled, form, user, charged)
            if not charged.startswith("+"):
                assert len(user) <= 6, where
                continue
            parsed = phonenumbers.parse(meant(form, user, region))
            assert parsed.country_code == phonenumbers.country_code_for_region(region), where
            assert phonenumbers.number_type(parsed) not in COSTLY, where
            passed += 1
    assert passed > 100


@pytest.mark.parametrize(
    "dialled",
    [
        "09098790000", "14109098790000", "147009098790000", "128009098790000", "+0449098790000", "004490987900009999",
        "090987900009999999", "*31#09098790000", "#31#+449098790000", "0000449098790000", "9990909879000", "112*09098790000",
    ],
)  # fmt: skip
def test_a_blocked_number_is_refused_however_it_is_dialled(dialled):
    settings = TenantSettings("GB", routes=(StoredRoute("", FORMS),), limits=CallLimits(blocked_prefixes=("+449",)))
    assert sent(dialled, settings) == {}


def test_no_foreign_number_leaves_as_a_national_one():
    """+33 909... would be 0909... in a form without the country."""
    settings = TenantSettings("GB", routes=(StoredRoute("", FORMS),), limits=CallLimits(blocked_prefixes=("+449",)))
    assert {form: user for form, (user, _, _) in sent("+33909879000", settings).items()} == {
        "e164": "+33909879000", "digits": "33909879000", "national": "0033909879000", "dialled": "+33909879000",
    }  # fmt: skip


RULES = {
    "blocked": {"limits": CallLimits(blocked_prefixes=("+449",))},
    "allowed": {"limits": CallLimits(allowed_prefixes=("+",))},
    "an account's": {"payer": replace(ALICE, limits=CallLimits(blocked_prefixes=("+449",)))},
    "rated": {"rates": (NumberRate("+449", 2.0),)},
    "premium prefixes": {"rules": Rules(premium_prefixes=("+449",))},
    "premium": {"premium": False},
    "international": {"international": False},
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("dialled", "country"),
    [
        ("*97", "GB"), ("0909879000099", "GB"), ("5550123", "US"), ("02079460000", ""), ("09098790000", ""),
        ("00449098790000", ""), ("118500", ""), ("+9990909879000", "GB"),
    ],
)  # fmt: skip
def test_what_cant_be_told_is_refused_where_any_rule_holds(dialled, country, rule):
    given = dict(RULES[rule])
    payer = given.pop("payer", ALICE)
    settings = TenantSettings(country, routes=(StoredRoute("", FORMS),), **given)
    assert sent(dialled, settings, payer) == {}
    free = sent(dialled, TenantSettings(country, routes=(StoredRoute("", FORMS),)))
    assert {user for user, _, _ in free.values()} == {dialled}
    assert {charged for _, _, charged in free.values()} == {dialled}


def test_a_providers_own_code_has_to_be_allowed_as_it_is():
    limits = CallLimits(allowed_prefixes=("+", "*97"))
    settings = TenantSettings("GB", routes=(StoredRoute("", FORMS),), limits=limits)
    assert {user for user, _, _ in sent("*97", settings).values()} == {"*97"}
    assert sent("*9709098790000", settings) == {}


@pytest.mark.parametrize(
    ("country", "prefix", "dialled"),
    [
        ("GB", "0909", "+449098790000"),
        ("US", "900", "19005550123"),
        ("ES", "80", "803123456"),
        ("GB", "00", "+33142685300"),
    ],
)
def test_a_prefix_as_it_is_dialled_in_the_country_blocks_what_it_means(country, prefix, dialled):
    settings = TenantSettings(country, routes=(StoredRoute("", FORMS),), limits=CallLimits(blocked_prefixes=(prefix,)))
    assert sent(dialled, settings) == {}
    assert sent(dialled, replace(settings, limits=CallLimits()))


def test_short_numbers_are_judged_as_they_are_and_leave_so():
    settings = TenantSettings("GB", routes=(StoredRoute("", FORMS),), limits=CallLimits(blocked_prefixes=("118",)))
    assert sent("118500", settings) == {}
    assert set(sent("101", settings).values()) == {("101", "101", "101")}
    assert sent("101", replace(settings, limits=CallLimits(allowed_prefixes=("+44",)))) == {}


@pytest.mark.parametrize(
    ("number", "country", "reason"),
    [
        ("09098790000", "GB", "premium calls are not allowed for this tenant (premium)"),
        ("118500", "GB", "premium calls are not allowed for this tenant (premium)"),
        ("+881612345678", "GB", "premium calls are not allowed for this tenant (premium)"),
        ("+33142685300", "GB", "international calls are not allowed for this tenant (international)"),
        ("+18765550123", "US", "international calls are not allowed for this tenant (international)"),
        ("+442079460000", "", "international calls are not allowed for this tenant (international); it has no country"),
        ("02079460000", "", "as long as the tenant has no country"),
        ("02079460000", "GB", ""),
        ("08081570123", "GB", ""),
        ("999", "GB", ""),
    ],
)
def test_new_tenants_are_told_what_they_have_to_ask_for(number, country, reason):
    control = office(country, premium=False, international=False, emergency=("voip",))
    decision = control.decide(asked(f"{number}@{DOMAIN}"))
    if reason:
        assert (decision.status, reason in decision.reason) == (403, True), decision
    else:
        assert isinstance(decision, Route)
    control.settings = replace(control.settings, premium=True, international=True)
    assert isinstance(control.decide(asked(f"{number}@{DOMAIN}", "2")), Route)


def test_a_tenant_that_was_there_before_keeps_what_it_has():
    made = tenant_item("t1", "New")
    assert (made.premium, made.international, made.costly_without_control_plane) == (False, False, False)
    stored = {name: value for name, value in made.to_dynamodb_dict().items() if "premium" not in name}
    del stored["international"]
    before = TenantItem.from_raw_data(stored)
    assert (before.premium, before.international, before.costly_without_control_plane) == (True, True, False)


# Who calls, as the control plane is asked


PASSWORD = "correct horse"


def office(country="GB", **settings):
    """Alice may call through the provider ``voip``."""
    control = Control(lambda: NOW)
    control.add("alice", PASSWORD)
    control.ways["voip"] = Way(PROVIDERS["e164"], "203.0.113.11", {})
    control.settings = TenantSettings(country, routes=(StoredRoute("", ("voip",)),), tenant="t1", **settings)
    return control


def asked(called, attempt="1", password=PASSWORD, **kwargs):
    found = question(called, attempt=attempt, **kwargs)
    ha1, ha2 = (hashlib.md5(text.encode()).hexdigest() for text in (f"alice:{DOMAIN}:{password}", "INVITE:sip:x"))
    response = hashlib.md5(f"{ha1}:n:{ha2}".encode()).hexdigest()
    return found.model_copy(update={"credentials": found.credentials.model_copy(update={"response": response})})


def leg(route):
    return route.targets[0].provider


def test_a_code_becomes_privacy():
    control = office()
    shown = leg(control.decide(asked(f"147002079460000@{DOMAIN}")))
    hidden = leg(control.decide(asked(f"14102079460000@{DOMAIN}")))
    assert shown.number == hidden.number == "+442079460000"
    assert "Privacy: id" not in shown.headers
    assert "Privacy: id" in hidden.headers
    assert hidden.from_value.startswith('"Anonymous" <')
    named = replace(PROVIDERS["e164"], caller_id="+442079460001", caller_id_in="remote-party-id")
    control.ways["voip"] = Way(named, "203.0.113.11", {})
    hidden = leg(control.decide(asked(f"14102079460000@{DOMAIN}")))
    assert any(line.endswith(";privacy=full") for line in hidden.headers)


# Emergency calls


EVERYTHING_BARRED = CallLimits(concurrent_calls=0, calls_per_minute=0, calls_per_day=0, allowed_prefixes=("+1",))


@pytest.mark.parametrize(
    "standing",
    [
        {},
        {"limits": EVERYTHING_BARRED},
        {"limits": CallLimits(daily_spend=0.0, max_call_seconds=1)},
        {"suspended": "unpaid", "enabled": False},
        {"enabled": False},
    ],
)
def test_an_emergency_call_goes_through_whatever_stands_in_the_way_of_others(standing):
    control = office(emergency=("voip",), limits=EVERYTHING_BARRED, premium=False, international=False)
    control.accounts[ALICE.aor] = replace(control.accounts[ALICE.aor], **standing)
    decision = control.decide(asked(f"141999@{DOMAIN}"))
    assert isinstance(decision, Route)
    assert decision.targets[0].uri == "sip:999@e164.test"
    assert decision.max_duration == 0
    assert (leg(decision).dark, leg(decision).number) == (True, "999")
    assert isinstance(decision.keep, Keep)
    assert decision.counted == [f"emergency {ALICE.aor}"]
    assert control.emergencies == [(ALICE.aor, "999")]
    assert control.decide(asked(f"02079460000@{DOMAIN}", "2")).status == 403


def test_a_wrong_password_and_a_tenant_without_emergency_providers_are_refused():
    control = office(emergency=("voip",))
    assert control.decide(asked(f"999@{DOMAIN}", password="wrong")).status == 403
    control.settings = replace(control.settings, emergency=())
    control.accounts[ALICE.aor] = replace(control.accounts[ALICE.aor], suspended="unpaid", enabled=False)
    refused = control.decide(asked(f"999@{DOMAIN}"))
    assert (refused.status, "no provider is set for emergency calls" in refused.reason) == (403, True)
    assert control.emergencies == []


def test_five_emergency_calls_at_once():
    control = office(emergency=("voip",))
    for attempt in range(5):
        assert isinstance(control.decide(asked(f"999@{DOMAIN}", str(attempt))), Route)
    assert isinstance(control.decide(asked(f"112@{DOMAIN}", "4")), Route)  # the same one
    refused = control.decide(asked(f"112@{DOMAIN}", "5"))
    assert (refused.status, "5 calls at once" in refused.reason) == (403, True)
    assert len(control.emergencies) == 6


def test_who_floods_with_emergency_calls_has_to_take_turns():
    control = office(emergency=("voip",))
    control.facts.admit = lambda scope, limits, attempt: BUSY
    refused = control.decide(asked(f"999@{DOMAIN}"))
    assert (refused.status, refused.retry_after) == (503, 1)
    assert control.emergencies == []


@pytest.mark.parametrize("dialled", ["99909098790000", "9990", "112*0909", "1129098790000", "99#", "999#", "*999"])
def test_more_than_an_emergency_number_is_an_ordinary_one(dialled):
    limits = CallLimits(calls_per_minute=3, blocked_prefixes=("+449",))
    control = office(emergency=("voip",), limits=limits)
    for attempt in range(4):
        decision = control.decide(asked(f"{dialled}@{DOMAIN}", str(attempt)))
        if isinstance(decision, Route):
            assert leg(decision).number == dialled
            assert len(dialled) <= 6
            assert attempt < 3
        else:
            assert decision.status == 403
    assert control.emergencies == []


# Calls that have to do without a decision


def test_a_decision_says_what_holds_while_none_can_be_had():
    limits = CallLimits(concurrent_calls=4, calls_per_minute=9, calls_per_day=7, daily_spend=2.5)
    control = office(limits=CallLimits(calls_per_day=50), rates=(NumberRate("+44", 0.5),))
    control.accounts[ALICE.aor] = replace(control.accounts[ALICE.aor], limits=limits)
    for attempt in range(3):
        decision = control.decide(asked(f"02079460000@{DOMAIN}", str(attempt)))
    assert [one.scope for one in decision.limits] == decision.counted == [ALICE.aor, "t1"]
    mine, all_ = decision.limits
    assert (mine.concurrent_calls, mine.calls_per_minute, mine.calls_per_day, mine.daily_spend) == (4, 9, 7, 2.5)
    assert (mine.today, mine.spent) == (3, 0.0)
    assert (all_.calls_per_day, all_.concurrent_calls, all_.today) == (50, None, 3)
    assert leg(decision).rate == 0.5
    assert decision.keep.caller == ALICE.aor


@pytest.mark.parametrize(
    ("number", "country", "dark"),
    [
        ("02079460000", "GB", True),
        ("101", "GB", True),
        ("09098790000", "GB", False),
        ("+33142685300", "GB", False),
        ("+44555", "GB", False),
        ("+442079460000", "", False),
        ("*97", "GB", False),
    ],
)
def test_costly_calls_need_a_decision_unless_the_tenant_says_otherwise(number, country, dark):
    control = office(country)
    assert leg(control.decide(asked(f"{number}@{DOMAIN}"))).dark == dark
    control.settings = replace(control.settings, costly_without_control_plane=True)
    assert leg(control.decide(asked(f"{number}@{DOMAIN}"))).dark


def test_premium_prefixes_of_the_tenant_count_as_premium():
    control = office(rules=Rules(premium_prefixes=("+44870",)))
    assert not leg(control.decide(asked(f"08701234567@{DOMAIN}"))).dark
    control.settings = replace(control.settings, premium=False)
    assert "(premium)" in control.decide(asked(f"08701234567@{DOMAIN}")).reason


def test_a_call_to_a_premium_number_counts_once_however_often_its_plan_is_asked():
    control = office(rules=Rules(premium_prefixes=("+449",), premium_calls=3))
    route = outbound.through(outbound.choose("09098790000", ("voip",), control.settings), WAYS[:1], ALICE)

    def admit(attempt, again):
        asked_ = question(f"x@{DOMAIN}", attempt=attempt, again=again)
        payer = control.accounts[ALICE.aor]
        request = CallRequest(asked_, payer, ALICE.aor, asked_.called, control.settings, NOW, MediaEnd())
        return Admission(request, lambda aor: None, control.facts).admit(route)

    for attempt, again in (("1", "by 1 f 1 "), ("1", "by 1 f 2 "), ("2", ""), ("2", "by 1 f 1 ")):
        assert isinstance(admit(attempt, again), Route)
    assert "suspended" in admit("3", "by 1 f 1 ").reason


def test_what_is_read_again_is_the_same():
    """Limits are asked by what was judged."""
    for region, _, dialled in sampled()[:2000]:
        number = read(dialled, region)
        if number is not None and not number.refused:
            again = read(number.judged, region)
            assert isinstance(again, Number)
            facts = ("judged", "clear", "premium", "international", "emergency")
            assert [getattr(again, fact) for fact in facts] == [getattr(number, fact) for fact in facts], dialled
