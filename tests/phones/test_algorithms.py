"""What Linphone answers when it is asked by SHA-256, by MD5, or by both (RFC 8760): what ``stack/algorithms`` relies on.
Seen with liblinphone 5.1.65, of Debian 12."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess

import pytest

from edge.sip.digest import challenge
from edge.sip.headers import parse_digest
from edge.sip.message import Request, make_response
from edge.sip.parser import parse
from lambdas.contract import HASHES
from tests.support.phones.linphone import SETTINGS

pytestmark = pytest.mark.integration

PROGRAM = "linphone-daemon"
DOMAIN, PASSWORD = "example.com", "a-secret-of-alice"
_PATIENCE = 20.0  # seconds


@pytest.fixture
def registrar():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(_PATIENCE)
        yield made


@pytest.fixture
def linphone(registrar, tmp_path):
    """It registers by itself."""
    if shutil.which(PROGRAM) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{PROGRAM} isn't installed")
    (tmp_path / ".local" / "share" / "linphone").mkdir(parents=True)
    settings = SETTINGS.format(
        udp=-1, tcp=0, tls=0, ipv6=0, authority="", user="alice", password=PASSWORD, domain=DOMAIN, transport="udp", expires=600,
        proxy=f"127.0.0.1:{registrar.getsockname()[1]}",
    )  # fmt: skip
    (tmp_path / "linphonerc").write_text(settings)
    command = [PROGRAM, "--config", str(tmp_path / "linphonerc"), "--disable-stats-events"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


def answer_to(registrar, algorithms):
    """The algorithm by which it answers these challenges, rightly."""
    while True:
        data, source = registrar.recvfrom(65535)
        request = parse(data)
        if not isinstance(request, Request) or request.method != "REGISTER":
            continue
        params = parse_digest(request.get("authorization") or "")
        if not params or not params.get("nonce"):
            headers = [
                ("www-authenticate", f"WWW-Authenticate: {value}")
                for value in challenge(DOMAIN, "0123456789abcdef", False, algorithms)
            ]
            registrar.sendto(make_response(request, 401, to_tag="t", headers=headers).to_bytes(), source)
            continue
        algorithm = params.get("algorithm", "MD5")

        def digest(text, hasher=HASHES[algorithm]):
            return hasher(text.encode()).hexdigest()

        middle = ":".join(params[name] for name in ("nonce", "nc", "cnonce", "qop"))
        ha1, ha2 = digest(f"alice:{DOMAIN}:{PASSWORD}"), digest(f"REGISTER:{params['uri']}")
        assert params["response"] == digest(f"{ha1}:{middle}:{ha2}")
        registrar.sendto(make_response(request, 200, to_tag="t").to_bytes(), source)
        return algorithm


@pytest.mark.parametrize(
    ("algorithms", "answered"),
    [(("MD5",), "MD5"), (("SHA-256",), "SHA-256"), (("SHA-256", "MD5"), "SHA-256"), (("MD5", "SHA-256"), "MD5")],
)
def test_it_takes_the_first(registrar, linphone, algorithms, answered):
    assert answer_to(registrar, algorithms) == answered
