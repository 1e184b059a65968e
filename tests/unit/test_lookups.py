"""What is looked up outside: numbers by ENUM, pages of hosts that were allowed, and nothing else."""

from __future__ import annotations

import http.server
import threading
import time

import pytest

from lambdas.lookups import pages as pages_module
from lambdas.lookups.enum import Enum
from lambdas.lookups.outside import LONGEST, OutsideError
from lambdas.lookups.pages import Pages
from tests.support.dns_server import DnsServer
from tests.support.pace import slowness

NUMBER = "9.9.3.0.0.0.0.6.4.9.7.0.2.4.4"


@pytest.fixture
def zone(monkeypatch):
    server = DnsServer("127.0.0.1")
    monkeypatch.setenv("ENUM_NAMESERVERS", server.address)
    yield server.records
    server.close()


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (['100 10 "u" "E2U+sip" "!^.*$!sip:desk@example.com!" .'], "sip:desk@example.com"),
        (
            [
                '100 20 "u" "E2U+sip" "!^.*$!sip:second@example.com!" .',
                '100 10 "u" "E2U+sip" "!^(.*)$!sip:\\\\1@gw.example.net!" .',
            ],
            "sip:+442079460000399@gw.example.net",
        ),
        (['100 10 "u" "E2U+sip" "!^\\\\+(.*)$!sip:\\\\1@gw.example.net!" .'], "sip:442079460000399@gw.example.net"),
        (['100 10 "u" "E2U+mailto" "!^.*$!mailto:a@example.com!" .'], ""),
        (['100 10 "u" "E2U+sip" "!^.*$!tel:+44!" .'], ""),
        (['100 10 "u" "E2U+sip" "!^(a+)+$!sip:x@example.com!" .'], ""),  # a pattern that could keep us busy
        (['100 10 "u" "E2U+sip" "!^.*$!sip:x@example.com>\\\\r\\\\nVia: y!" .'], ""),
        ([], ""),
    ],
)
def test_enum(zone, records, found):
    zone[f"{NUMBER}.e164.arpa", "NAPTR"] = records
    assert Enum().find("+442079460000399", "e164.arpa") == found


def test_enum_of_what_is_no_number_asks_nobody(zone):
    for number in ("", "+", "abc", "+44x", "+" + "1" * 16):
        assert Enum().find(number, "e164.arpa") == ""


def test_a_name_server_that_doesnt_answer_costs_a_second(monkeypatch):
    monkeypatch.setenv("ENUM_NAMESERVERS", "127.0.0.1:9")
    begun = time.monotonic()
    assert Enum().find("+4420", "e164.arpa") == ""
    assert time.monotonic() - begun < 1.5 * slowness()


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(3)
        if self.path == "/drip":  # an octet now and then, in the middle of a header field
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            for _ in range(12):
                time.sleep(0.2)
                try:
                    self.wfile.write(b"a")
                except OSError:
                    return
            return
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/")
        else:
            self.send_response(200)
        body = b"x" * 100_000 if self.path == "/long" else f"{self.headers['Host']} {self.path}".encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *args):
        pass


@pytest.fixture
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_of_an_allowed_host(site, monkeypatch):
    monkeypatch.setenv("SCRIPT_NETWORKS", "127.0.0.0/8")
    pages = Pages()
    assert pages.get(f"http://{site}/a?b=c", {site}) == (200, f"{site} /a?b=c")
    assert pages.get(f"http://{site}/away", {site})[0] == 302  # and nobody goes there
    assert len(pages.get(f"http://{site}/long", {site})[1]) == LONGEST


@pytest.mark.parametrize("path", ["/slow", "/drip"])
def test_a_slow_page_is_given_up(site, monkeypatch, path):
    monkeypatch.setenv("SCRIPT_NETWORKS", "127.0.0.0/8")
    monkeypatch.setattr(pages_module, "TIMEOUT", 0.3)
    begun = time.monotonic()
    with pytest.raises(OutsideError, match="doesn't answer") as caught:
        Pages().get(f"http://{site}{path}", {site})
    assert not caught.value.forbidden
    assert time.monotonic() - begun < 1 * slowness()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://{site}/", "public address"),
        ("http://other.example.com/", "isn't among the hosts"),
        ("http://user@{site}/", "is not like"),
        ("file:///etc/passwd", "is not like"),
        ("http://[::1/", "is not a URL"),
        ("ftp://{site}/", "is not like"),
        ("", "is not like"),
        ("http://169.254.169.254/latest/meta-data", "isn't among the hosts"),
    ],
)
def test_what_isnt_allowed_is_never_asked(site, url, says):
    with pytest.raises(OutsideError, match=says) as caught:
        Pages().get(url.format(site=site), {site})
    assert caught.value.forbidden


def test_not_even_an_allowed_name_leads_to_a_private_address(monkeypatch):
    private = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[fd00::1]", "0.0.0.0"]
    # IPv6 that stands for IPv4: mapped, NAT64, 6to4, compatible; and site-local.
    private += ["[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]", "[::10.0.0.1]", "[fec0::1]"]
    for host in private:
        with pytest.raises(OutsideError, match="public address") as caught:
            Pages().get(f"http://{host}/", {host.strip("[]")})
        assert caught.value.forbidden
