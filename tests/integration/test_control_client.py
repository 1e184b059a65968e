"""Which of two control planes an edge asks."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from edge.control import client
from edge.control.identity import Identity
from lambdas.contract import VERSION, Heartbeat, HeartbeatReply
from tests.integration.conftest import fresh_base

pytestmark = pytest.mark.integration
BEAT = Heartbeat(version=VERSION, boot="b1", addresses=["203.0.113.11"], mesh="203.0.113.11:5070", certificate="")
REPLY = HeartbeatReply(version=VERSION, held=[], fleet=[], addresses=[], keys=[], domains_version="1").model_dump_json()


class Place:
    """Answers heartbeats, and counts them; with ``well`` false it says 500."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.beats = 0
        self.well = True

    async def start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/edge/heartbeat", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, self.host, 8080).start()
        return runner

    async def _answer(self, _: web.Request) -> web.Response:
        self.beats += 1
        return web.Response(text=REPLY, content_type="application/json") if self.well else web.Response(status=500)


def test_the_first_of_the_list_is_asked_again_once_it_is_back(tmp_path, monkeypatch):
    base = fresh_base()
    near, far = Place(base), Place(base.rpartition(".")[0] + ".2")

    async def scenario() -> None:
        runners = [await place.start() for place in (near, far)]
        asks = client.ControlClient(
            Identity.load_or_make("edge-a", tmp_path / "edge.key"),
            [f"http://{place.host}:8080" for place in (near, far)],
            "none",
        )
        await asks.open()
        try:
            near.well = False
            assert await asks.heartbeat(BEAT)
            assert (near.beats, far.beats) == (1, 1)
            near.well = True
            assert await asks.heartbeat(BEAT)
            assert (near.beats, far.beats) == (1, 2)  # not at once
            monkeypatch.setattr(client, "RETURN", 0.0)
            assert await asks.heartbeat(BEAT)
            monkeypatch.setattr(client, "RETURN", 30.0)
            assert await asks.heartbeat(BEAT)
            assert (near.beats, far.beats) == (3, 2)
        finally:
            await asks.close()
            for runner in runners:
                await runner.cleanup()

    asyncio.run(scenario())
