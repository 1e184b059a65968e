"""Whose pages may have WebSockets, and what the configuration says of certificates."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edge.config import ConfigError, load
from edge.runtime.origins import Origins
from edge.sip.places import Places

FLEET = SimpleNamespace(
    domains={"example.com": "example.com", "sip.example.org": "example.com"},
    address_at=Places(("203.0.113.11",), {"203.0.113.11": ("2001:db8::1", "edge-a.example.net")}).address_at,
)
ORIGINS = Origins(["https://shop.example:8443"], ["phones.example.net"], lambda: FLEET)


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "https://phone.example.com",
        "http://a.b.example.com:8080",
        "https://sip.example.org",
        "https://edge-a.example.net",
        "https://phones.example.net",
        "https://203.0.113.11",
        "https://[2001:db8:0::1]:8443",
        "https://shop.example:8443",
    ],
)
def test_pages_of_the_service_and_those_that_are_told_are_welcome(origin):
    assert ORIGINS.welcome(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "https://elsewhere.example",
        "https://example.com.elsewhere.example",
        "https://notexample.com",
        "https://example.org",  # above the domain
        "https://com",
        "https://shop.example",
        "http://shop.example:8443",
        "https://203.0.113.12",
        "https://[",
        "null",
        "",
    ],
)
def test_others_are_not(origin):
    assert not ORIGINS.welcome(origin)
    assert Origins(["*"], [], lambda: FLEET).welcome(origin)


CONFIG = """
id = "edge-a"
address = "203.0.113.11"
listen = ["udp://203.0.113.11:5060", "wss://203.0.113.11:443"]
mesh = "203.0.113.11:5070"
control = ["http://203.0.113.1:8080"]
key_file = "edge-a.key"
certificates = [{chain = "tls/chain.pem", key = "/etc/tls/key.pem"}]
origins = ["https://shop.example"]
"""


def test_paths_of_certificates_are_the_configurations(tmp_path):
    (tmp_path / "edge.toml").write_text(CONFIG)
    config = load(tmp_path / "edge.toml")
    (files,) = config.certificates
    assert files.chain == tmp_path / "tls" / "chain.pem"
    assert str(files.key) == "/etc/tls/key.pem"
    assert config.secure == ["wss://203.0.113.11:443"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            'certificates = [{chain = "tls/chain.pem", key = "/etc/tls/key.pem"}]',
            "",
            "wss://203.0.113.11:443 needs one",
        ),
        ('key = "/etc/tls/key.pem"', 'keys = ""', r"certificates\.0\.key"),
        ("https://shop.example", "shop.example", r"origins\.0: .*https://phone\.example\.com"),
        ("https://shop.example", "https://shop.example/", "origins"),
        ("https://shop.example", "https://Shop.example", "in small letters"),
        (
            "listen = [",
            'listen = ["tcp://203.0.113.11:443", ',
            r"tcp://203\.0\.113\.11:443 and wss://.* need a port each",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, why):
    assert old in CONFIG
    (tmp_path / "edge.toml").write_text(CONFIG.replace(old, new))
    with pytest.raises(ConfigError, match=why):
        load(tmp_path / "edge.toml")
