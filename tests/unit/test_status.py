"""What probes add up to, and the page that shows it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from lambdas.api import status_page
from lambdas.decisions.certificates import Certified
from lambdas.decisions.status import Bucket, Incident, Point, buckets, incidents, uptime

A, B = "203.0.113.11", "203.0.113.12"
NOW = 1_800_000_000


def good(address, at, register=0.02, call=0.05):
    return Point(address, at, register, call)


def bad(address, at):
    return Point(address, at, None, None)


def test_buckets_have_medians_and_count_what_works():
    points = [good(A, 10, 0.1, 0.3), good(A, 20, 0.2, 0.4), good(A, 30, 0.9, 0.5), bad(A, 40), good(A, 310), bad(B, 50)]
    assert buckets(points, 300) == [
        Bucket(A, 0, 4, 3, 0.2, 0.4),
        Bucket(A, 300, 1, 1, 0.02, 0.05),
        Bucket(B, 0, 1, 0, None, None),
    ]
    assert uptime(buckets(points, 300)) == 4 / 6
    assert uptime([]) is None


def test_a_registration_that_works_without_a_call_is_no_good():
    assert not Point(A, 0, 0.02, None).good
    (bucket,) = buckets([Point(A, 0, 0.02, None)], 300)
    assert (bucket.good, bucket.register, bucket.call) == (0, 0.02, None)


def test_two_bad_probes_in_a_row_are_an_incident():
    points = [
        good(A, 0),
        bad(A, 60),
        good(A, 120),
        bad(A, 180),
        bad(A, 240),
        bad(A, 300),
        good(A, 360),
        bad(B, 400),
        bad(B, 460),
    ]
    assert incidents(points[::-1]) == [Incident(A, 180, 360, 3), Incident(B, 400, None, 2)]
    assert incidents([bad(A, 0), bad(B, 1)]) == []


def test_an_outage_is_one_incident_however_often_it_is_looked_at():
    """The points of which the page is made are those of the last hours only."""
    begin, end = NOW - 5 * 3600, NOW - 1800
    points = [bad(A, at) if begin <= at < end else good(A, at) for at in range(NOW - 8 * 3600, NOW + 3600, 120)]
    points += [good(B, at + 30) for at in range(NOW - 8 * 3600, NOW + 3600, 120)]
    kept = Kept(points)
    for now in range(NOW - 8 * 3600, NOW + 3600, 600):
        text = status_page.render(status_page.refresh(kept, now))
        assert (f"There is trouble at {A}" in text) == (begin + 120 <= now < end), now - NOW
    (incident,) = kept.incidents(10)
    assert (incident.address, incident.begun) == (A, begin)
    assert end <= incident.ended < end + 120


def test_what_nobody_tries_out_is_said():
    points = [good(A, at) for at in range(NOW - 7200, NOW - 3000, 60)]
    text = status_page.render(status_page.refresh(Kept(points), NOW))
    assert "Nothing has been measured since" in text
    points += [good(B, at) for at in range(NOW - 7200, NOW, 60)]
    text = status_page.render(status_page.refresh(Kept(points), NOW))
    assert f"Not tried out any more: {A} (since" in text
    assert "All edges work" not in text
    days_later = status_page.render(status_page.refresh(Kept(points), NOW + 3 * 86_400))
    assert "Nothing has been measured" in days_later


def test_regions_where_there_are_several():
    def points(other):
        for at in range(NOW - 7200, NOW, 60):
            yield Point(A, at, 0.01, 0.02, "eu-west-1")
            yield Point("203.0.113.13", at, 0.03, 0.04, "eu-west-1") if at % 120 else bad("203.0.113.13", at)
            yield Point(B, at, 0.09, 0.1, other)

    state = status_page.refresh(Kept(list(points("eu-central-1"))), NOW)
    text = status_page.render(state)
    assert text.count("<svg ") == 12
    assert "Registration by Region, ms: last 3 hours" in text
    assert f"{A} (eu-west-1)" in text
    (central,) = {one["region"] for one in state["spans"]["Last day"] if one["address"] == B}
    assert central == "eu-central-1"
    assert re.search(r"<th scope=row>eu-central-1</th><td>100.00</td>", text)
    assert re.search(rf"<th scope=row>{B} \(eu-central-1\)</th><td>100.00</td>", text)
    assert status_page.render(status_page.refresh(Kept(list(points("eu-west-1"))), NOW)).count("<svg ") == 6


class Kept:
    """A repository in memory."""

    def __init__(self, points):
        self.points, self.kept_hours, self.kept_incidents = points, {}, {}

    def since(self, begin, now):
        return [point for point in self.points if begin <= point.at <= now]

    def keep_hours(self, found):
        self.kept_hours |= {(bucket.address, bucket.begin): bucket for bucket in found}

    def hours(self, begin):
        return [bucket for bucket in self.kept_hours.values() if bucket.begin >= begin]

    def keep_incidents(self, found):
        self.kept_incidents |= {(incident.address, incident.begun): incident for incident in found}

    def incidents(self, limit):
        return sorted(self.kept_incidents.values(), key=lambda one: -one.begun)[:limit]


def test_a_week_of_probes():
    points = [
        good(place, at, 0.01 if place == A else 0.03) for at in range(NOW - 8 * 86_400, NOW, 120) for place in (A, B)
    ]
    points = [
        bad(A, point.at) if point.address == A and NOW - 7200 <= point.at < NOW - 6000 else point for point in points
    ]
    kept = Kept(points)
    for now in range(NOW - 8 * 86_400 + 3600, NOW + 1, 1800):
        state = status_page.refresh(kept, now)
    spans = state["spans"]
    assert {name: len(found) for name, found in spans.items()} == {"Last 3 hours": 72, "Last day": 48, "Last week": 58}
    assert all(bucket["register"] == pytest.approx(0.03) for bucket in spans["Last week"] if bucket["address"] == B)
    assert [(one["address"], one["begun"], one["ended"]) for one in state["incidents"]] == [(A, NOW - 7200, NOW - 6000)]
    assert round(1 - state["uptime"]["Last 3 hours"], 3) == round(10 / 180, 3)
    assert 0.998 < state["uptime"]["Last week"] < 1


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def test_the_page_needs_no_scripts_and_no_eyes():
    kept = Kept([good(place, at) for at in range(NOW - 3600, NOW, 60) for place in (A, "<script>")])
    text = status_page.render(status_page.refresh(kept, NOW))
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe")]
    assert not re.search(r"https?://(?!www\.w3\.org|pygal\.org|github\.com/Kozea)", text)  # nothing is fetched
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) == 6
    assert all(picture["role"] == "img" and "viewbox" in picture for picture in pictures)
    assert "20.0 to 20.0 ms" in pictures[0]["aria-label"]
    assert ("html", {"lang": "en"}) in page.tags
    assert "width=device-width" in text
    assert "All edges work" in text
    assert "<script>" not in text
    assert len([tag for tag, _ in page.tags if tag == "table"]) == 7


def test_trouble_is_said_first():
    kept = Kept([bad(A, NOW - 120), bad(A, NOW - 60), good(B, NOW - 60)])
    text = status_page.render(status_page.refresh(kept, NOW))
    assert f"There is trouble at {A}" in text
    assert text.index("trouble") < text.index("<h2>")
    assert "not yet" in text


def test_a_page_of_nothing():
    text = status_page.render(status_page.refresh(Kept([]), NOW))
    assert "Nothing has been measured yet" in text
    assert "None in the last 90 days" in text


def test_certificates_that_end_soon_are_a_line_without_the_names_of_tenants_domains():
    def certificate(name, tenant, days):
        return Certified(name, tenant, "1", NOW - 80 * 86_400, NOW + days * 86_400)

    found = [certificate("edge-a.voip.test", "", 13.9), certificate("edge-b.voip.test", "", 14.1)]
    found += [certificate("pbx.example.com", "t1", 3), certificate("gone.example.com", "t2", -1)]
    state = status_page.refresh(Kept([]), NOW, found)
    assert state["ending"] == {"edges": {"edge-a.voip.test": int(NOW + 13.9 * 86_400)}, "domains": 2}
    text = status_page.render(state)
    assert re.search(r"Certificates end soon: edge-a.voip.test \(20[0-9: -]+ UTC\), 2 of domains\.", text)
    assert "example.com" not in text
    assert "Certificates end" not in status_page.render(status_page.refresh(Kept([]), NOW, found[1:2]))
