"""Telephone numbers as URIs have them."""

from __future__ import annotations

import pytest

from edge.sip.telephone import name_of, party_of, subscriber
from edge.sip.uri import Uri


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+442079460000", "+442079460000"),
        ("+44-20-7946-0000", "+442079460000"),
        ("+44 (20) 7946.0000", "+442079460000"),
        ("020-7946-0000", "02079460000"),
        ("+442079460000;npdi;rn=+447979000000", "+442079460000"),
        ("+442079460000;cpc=ordinary;isub=12", "+442079460000"),
        ("+442079460000;ext=17", "+442079460000"),
        ("101;ext=17", "101"),
        ("02079460000;phone-context=+44", "+4402079460000"),
        ("999;phone-context=+44", "+44999"),
        ("2079460000;cpc=cellular;Phone-Context=+4-4", "+442079460000"),
        ("101;phone-context=example.com", "101"),
        ("+442079460000;phone-context=+1", "+442079460000"),
        ("#31#;phone-context=+44", "#31#"),
        ("*67", "*67"),
        ("10-20", "10-20"),  # the name of an account, for all that anybody knows
        ("(10)20", "1020"),
        ("alice", ""),
        ("alice;x=y", ""),
        ("12ab", ""),
        ("+", ""),
        ("-", ""),
        (";phone-context=+44", ""),
        ("02079460000;phone-context=+x", "02079460000"),
        ("02079460000;phone-context=+", "02079460000"),
        ("٣٤٥٦٧٨٩", ""),  # digits, but none to dial
    ],
)
def test_a_number_is_read_one_way(text, number):
    assert subscriber(text) == number


@pytest.mark.parametrize(
    ("uri", "name", "party"),
    [
        ("tel:+44-20-7946-0000;npdi", "+442079460000", "+442079460000"),
        ("TEL:7042;phone-context=example.com", "7042", "7042"),
        ("sip:+442079460000;cpc=payphone@itsp.example;user=phone", "+442079460000", "+442079460000@itsp.example"),
        ("sip:%2B442079460000@itsp.example", "+442079460000", "+442079460000@itsp.example"),
        ("sip:%2331%23020%2D7946%2d0000@itsp.example", "#31#02079460000", "#31#02079460000@itsp.example"),
        ("sip:%2a67@itsp.example", "*67", "*67@itsp.example"),
        ("sip:alice;x=y@itsp.example", "alice;x=y", "alice;x=y@itsp.example"),
        ("sip:al%69ce@itsp.example", "alice", "alice@itsp.example"),
        ("sip:itsp.example", "", "@itsp.example"),
    ],
)
def test_parameters_are_cut_off_numbers_only(uri, name, party):
    assert name_of(Uri.parse(uri)) == name
    assert party_of(Uri.parse(uri)) == party
