"""Calls wait while webhooks are told, so a queue that is silent mustn't hold them up."""

from __future__ import annotations

import socket
import time

import pytest

from lambdas.repositories.hooks import Hooks, Notice, NotTold
from tests.support.pace import slowness


def test_a_silent_queue_is_given_up_soon(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name, value in {
            "HOOKS_QUEUE": f"{url}/000000000000/hooks", "AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        hooks = Hooks(None, None, None)
        notice = Notice("t1", "crm", "call.started", "msg_1", 0, {})
        hooks._sending  # noqa: B018 - made once in a process, which takes its time
        begun = time.monotonic()
        with pytest.raises(NotTold, match="timeout"):
            hooks.tell([notice] * 10)
        assert time.monotonic() - begun < 2 * slowness()
        hooks._sending.close()
