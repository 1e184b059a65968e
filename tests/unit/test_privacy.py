"""What Privacy asks for, and what is left of a message then."""

from __future__ import annotations

import pytest

from edge.sip import privacy
from edge.sip.message import header_of
from lambdas.contract import ProviderLeg, Server, known_as, withheld


def first(*lines: str) -> dict[str, str]:
    return privacy.first_lines(map(header_of, lines))


@pytest.mark.parametrize(
    ("lines", "hides"),
    [
        ([], False),
        (["Privacy: id"], True),
        (["Privacy: ID;critical"], True),
        (["Privacy: user"], True),
        (["Privacy: header;session"], True),
        (["Privacy: session"], False),
        (["Privacy: history"], False),
        (["Privacy: none"], False),
        (["Privacy: id;none"], False),
        (["Privacy: session", "Privacy: id"], True),
        (["Remote-Party-ID: <sip:+44@itsp.example>;privacy=off", "Privacy: session", "Privacy: user"], True),
        (["Remote-Party-ID: <sip:+44@itsp.example>;party=calling;privacy=full"], True),
        (['Remote-Party-ID: "A, B" <sip:+44@itsp.example>;Privacy="uri"'], True),
        (["Remote-Party-ID: <sip:+44@itsp.example>;privacy=off"], False),
        (["Remote-Party-ID: <sip:+44@itsp.example>"], False),
        (['Remote-Party-ID: "open'], True),  # nobody can tell
        (["Privacy: full", "Remote-Party-ID: <sip:+44@itsp.example>;privacy=full"], True),
        (["Privacy: none", "Remote-Party-ID: <sip:+44@itsp.example>;privacy=full"], False),
    ],
)
def test_who_is_to_be_hidden(lines, hides):
    assert privacy.hides(first(*lines)) == hides


def test_what_is_left_names_nobody_and_counts_diversions():
    lines = [
        "Via: SIP/2.0/UDP itsp.example;branch=z9hG4bK1",
        'From: "J Doe" <sip:+442079460999@itsp.example>;tag=t1;x=y',
        "P-Asserted-Identity: <tel:+442079460999>",
        "P-Preferred-Identity: <sip:+442079460999@itsp.example>",
        "Remote-Party-ID: <sip:+442079460999@itsp.example>",
        "Call-Info: <http://itsp.example/442079460999.jpg>",
        "Organization: 442079460999 Ltd",
        "Reply-To: <sip:+442079460999@itsp.example>",
        "History-Info: <sip:+442079460999@itsp.example>;index=1",
        "Diversion: <sip:+442079460999@itsp.example>;reason=user-busy;counter=2, <tel:+442079460999>",
        "Privacy: id",
        "Subject: 42079460999 calls",
        "User-Agent: 42079460999's telephone",
        "Referred-By: <sip:+442079460999@itsp.example>",
        "Accept: */*",
    ]
    left = privacy.withhold([header_of(line) for line in lines])
    text = "\n".join(line for _, line in left)
    assert "42079460999" not in text
    assert [key for key, _ in left] == ["via", "from", "diversion", "privacy", "accept"]
    assert left[1][1] == 'From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=t1'
    assert left[2][1].count("counter=2") == left[2][1].count("counter=1") == 1
    assert left[2][1].count("privacy=full") == 2
    assert "J Doe" not in text


def leg(*headers: str, provider: str = "t1/voip") -> ProviderLeg:
    server = Server(host="sip.voip.test", port=0, transport="udp")
    from_value = '"Desk" <sip:+4420@voip.test>'
    return ProviderLeg(id=provider, server=server, from_value=from_value, to_uri="sip:1@x", headers=list(headers))


def test_a_provider_hears_who_it_is_and_is_asked_not_to_say_it():
    plain = withheld(leg())
    assert plain.from_value == '"Anonymous" <sip:anonymous@anonymous.invalid>'
    assert plain.headers == ["P-Preferred-Identity: <sip:+4420@voip.test>", "Privacy: id"]
    assert known_as(plain) == known_as(leg()) == "sip:+4420@voip.test"
    asserted = withheld(leg("P-Asserted-Identity: <sip:+4421@voip.test>", "X-Line: 1"))
    assert asserted.headers == ["P-Asserted-Identity: <sip:+4421@voip.test>", "X-Line: 1", "Privacy: id"]
    assert known_as(asserted) == "sip:+4421@voip.test"
    remote = withheld(leg("Remote-Party-ID: <sip:+4421@voip.test>;party=calling;privacy=off;screen=yes"))
    assert remote.headers == [
        "Remote-Party-ID: <sip:+4421@voip.test>;party=calling;screen=yes;privacy=full",
        "Privacy: id",
    ]
    assert withheld(withheld(leg())) == plain


def test_an_address_elsewhere_never_hears_it():
    outside = withheld(leg("P-Asserted-Identity: <sip:+4421@voip.test>", "X-Line: 1", provider=""))
    assert outside.headers == ["X-Line: 1", "Privacy: id"]
    assert "4420" not in outside.from_value
