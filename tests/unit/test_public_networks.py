"""Public networks as heartbeats bring them: once for each version, and kept for a start in the dark."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.control.heartbeat import HeartbeatLoop, News
from edge.control.holdings import Holdings
from edge.control.identity import Identity
from edge.control.store import StateStore
from edge.runtime.restart import load
from edge.runtime.snapshot import snapshot
from lambdas.contract import VERSION, FleetKey, HeartbeatReply

NETWORKS = ["198.51.100.0/24", "2001:db8::/32"]


def reply(**more):
    return HeartbeatReply(version=VERSION, held=[], fleet=[], addresses=[], keys=[], domains_version="1", **more)


def test_they_are_asked_for_once():
    beats, news = [], []
    answers = [
        reply(),  # of a control plane of before
        reply(public_networks=NETWORKS, public_networks_version="v1"),
        reply(public_networks_version="v1"),
        reply(public_networks=[], public_networks_version="v2"),
    ]

    async def answered(beat):
        assert beat.media
        beats.append(beat.public_networks)
        if not answers:
            raise asyncio.CancelledError
        return answers.pop(0).model_copy(update={"more": True})

    loop = HeartbeatLoop(
        SimpleNamespace(heartbeat=answered),
        Identity("edge-a", Ed25519PrivateKey.generate()),
        "b1",
        Holdings("203.0.113.11", "host", "none", []),
        mesh="203.0.113.11:5070",
        listen=[],
        interface="",
        linked=set,
        on_news=news.append,
        on_steps=lambda steps: None,
        on_certificates=None,
        media=True,
    )
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(loop.run())
    assert beats == ["", "", "v1", "v1", "v2"]
    assert [one.public_networks for one in news] == [[], NETWORKS, NETWORKS, []]


def test_the_core_knows_them():
    key = FleetKey(id=1, nonce="bm9uY2U=", token=base64.b64encode(bytes(64)).decode(), use=True)
    news = News(reply().model_copy(update={"keys": [key]}), {}, 1.0, public_networks=NETWORKS)
    have = snapshot(news, {}, frozenset(), {}).public_networks.have
    hosts = ("198.51.100.7", "198.51.101.7", "2001:db8::9", "2001:db9::9", "bob.example")
    assert [have(host) for host in hosts] == [True, False, True, False, False]
    assert not snapshot(replace(news, public_networks=[]), {}, frozenset(), {}).public_networks.have(hosts[0])


def test_the_core_is_told():
    told = reply().model_copy(
        update={"keys": [FleetKey(id=1, use=True, nonce="", token=base64.b64encode(bytes(64)).decode())]}
    )
    news = News(told, {}, 0.0, public_networks=NETWORKS)
    fleet = snapshot(news, {}, frozenset(), {}, media=True)
    assert fleet.media
    assert [fleet.public_networks.have(host) for host in ("198.51.100.7", "192.0.2.1")] == [True, False]


@pytest.mark.parametrize(("kept", "found"), [({"public_networks": NETWORKS}, NETWORKS), ({}, [])])
def test_they_are_known_again_after_a_restart(tmp_path, kept, found):
    store = StateStore(tmp_path / "kept.sqlite", bytes(32))
    news = {"reply": reply().model_dump(mode="json"), "domains": {}, "at": time.time(), **kept}
    store.keep("news", [("last", json.dumps(news).encode())])
    assert load(store, 60).public_networks == found
    store.close()
