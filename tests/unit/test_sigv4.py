"""Signatures by which AWS knows who asks, beside those of botocore."""

from __future__ import annotations

import datetime

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from edge.control import sigv4

NOW = 1_800_000_000.0
URL = "https://abc123.lambda-url.eu-west-1.on.aws/edge/decisions"
HEADERS = {"Content-Type": "application/json", "x-edge": "edge-a", "x-edge-time": "1800000000.000"}


@pytest.fixture
def signer(monkeypatch):
    """A Sigv4 that finds these credentials."""

    def make(token: str | None) -> sigv4.Sigv4:
        found = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
        monkeypatch.setattr(sigv4.Session, "get_credentials", lambda _: found)
        return sigv4.Sigv4()

    return make


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize("url", [URL, "http://127.0.0.1:4566/edge/reports", "http://127.0.0.1/edge/heartbeat"])
@pytest.mark.parametrize("body", [b"", b'{"version":10}'])
def test_they_are_those_of_botocore(signer, monkeypatch, token, url, body):
    mine = signer(token)
    monkeypatch.setattr(auth, "get_current_datetime", lambda: datetime.datetime.fromtimestamp(NOW, datetime.UTC))
    request = AWSRequest(method="POST", url=url, data=body, headers=HEADERS)
    region = "eu-west-1" if "eu-west-1" in url else "0"
    auth.SigV4Auth(mine._credentials.get_frozen_credentials(), "lambda", region).add_auth(request)
    found = {name.lower(): value for name, value in mine.sign(url, HEADERS, body, NOW).items()}
    assert found == {name.lower(): value for name, value in request.headers.items()}
