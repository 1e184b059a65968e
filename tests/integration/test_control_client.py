"""Which of two control planes an edge asks."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest
from aiohttp import web

from edge.control import client
from edge.control.identity import Identity
from lambdas.contract import VERSION, DecisionEnvelope, Heartbeat, HeartbeatReply, LocateQuestion, Reject
from tests.support.fleets import fresh_base
from tests.support.pace import slowness

pytestmark = pytest.mark.integration
BEAT = Heartbeat(version=VERSION, boot="b1", addresses=["203.0.113.11"], mesh="203.0.113.11:5070", certificate="")
REPLY = HeartbeatReply(version=VERSION, held=[], fleet=[], addresses=[], keys=[], domains_version="1").model_dump_json()


QUESTION = LocateQuestion(request="r1", address="203.0.113.11", epoch=1, binding="b")
GONE = Reject(status=430)
DECISION = DecisionEnvelope(version=VERSION, decision=GONE).model_dump_json()


class Place:
    """Answers heartbeats and questions, and counts them; with ``well`` false it says 500. The first ``asleep`` requests
    of each kind take ``delay`` seconds, as those do that start a function."""

    def __init__(self, host: str, delay: float = 0.0, asleep: int = 1) -> None:
        self.host = host
        self.beats = 0
        self.questions = 0
        self.well = True
        self.delay = delay
        self.asleep = asleep

    async def start(self) -> web.AppRunner:
        self.asked, self.all_asked = asyncio.Event(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/edge/heartbeat", self._answer)
        app.router.add_post("/edge/decisions", self._decide)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, self.host, 8080).start()
        return runner

    async def _answer(self, _: web.Request) -> web.Response:
        self.beats += 1
        await asyncio.sleep(self.delay if self.beats <= self.asleep else 0)
        return web.Response(text=REPLY, content_type="application/json") if self.well else web.Response(status=500)

    async def _decide(self, _: web.Request) -> web.Response:
        self.questions += 1
        self.asked.set()
        if self.questions == client._STRANGERS:
            self.all_asked.set()
        await asyncio.sleep(self.delay if self.questions <= self.asleep else 0)
        return web.Response(text=DECISION, content_type="application/json")


async def asked(tmp_path, places, scenario):
    """``scenario`` with a client of ``places``, of which those that are addresses only don't exist."""
    runners = [await place.start() for place in places if isinstance(place, Place)]
    urls = [f"http://{place.host if isinstance(place, Place) else place}:8080" for place in places]
    asks = client.ControlClient(Identity.load_or_make("edge-a", tmp_path / "edge.key"), urls, "none")
    try:
        await scenario(asks)
    finally:
        asks.close()
        for runner in runners:
            await runner.cleanup()


async def timed(answer):
    begun = time.monotonic()
    return await answer, time.monotonic() - begun


@pytest.fixture
def quick(monkeypatch):
    """A ninth of every time."""
    for name in ("BUDGET", "PATIENCE", "_RESERVE"):
        monkeypatch.setattr(client, name, getattr(client, name) / 9)


def test_a_function_that_isnt_warm_is_waited_for(tmp_path):
    places = [Place(fresh_base(), delay) for delay in (1.0, 3.0, 6.0)]

    async def scenario(place, asks):
        (decision, taken), (beat, _) = await asyncio.gather(timed(asks.ask(QUESTION)), timed(asks.heartbeat(BEAT)))
        assert decision == GONE
        assert beat is not None
        assert place.delay <= taken < place.delay + slowness()
        assert place.questions == place.beats == 1

    async def all_at_once():
        await asyncio.gather(*(asked(tmp_path, [place], partial(scenario, place)) for place in places))

    asyncio.run(all_at_once())


def test_a_second_function_is_waited_for_while_the_first_answers_others(tmp_path, quick):
    """It has answered a moment ago, but each request under way needs a function of its own."""
    place = Place(fresh_base(), 0.9)
    place.beats = 1

    async def scenario(asks):
        assert await asks.heartbeat(BEAT)
        question = asyncio.ensure_future(timed(asks.ask(QUESTION)))
        await place.asked.wait()
        assert await asks.heartbeat(BEAT)
        decision, taken = await question
        assert decision == GONE
        assert taken >= 0.9 > client.BUDGET

    asyncio.run(asked(tmp_path, [place], scenario))


def test_who_has_answered_just_now_and_hangs_is_not_waited_for(tmp_path, quick):
    place = Place(fresh_base(), 20.0)
    place.beats = 1

    async def scenario(asks):
        assert await asks.heartbeat(BEAT)
        decision, taken = await timed(asks.ask(QUESTION))
        assert decision is None
        assert client.BUDGET <= taken < client.PATIENCE
        assert (await timed(asks.ask(QUESTION)))[1] < 0.2  # the circuit breaker
        assert place.questions == 1

    asyncio.run(asked(tmp_path, [place], scenario))


def test_one_that_cant_be_reached_costs_no_waiting(tmp_path, quick):
    base = fresh_base()
    there = Place(base.rpartition(".")[0] + ".2", 0.8)

    async def scenario(asks):
        decision, taken = await timed(asks.ask(QUESTION))
        assert decision == GONE
        assert 0.8 <= taken < client.PATIENCE

    asyncio.run(asked(tmp_path, [base, there], scenario))


def test_after_one_that_was_waited_for_in_vain_the_next_is_asked(tmp_path, quick):
    base = fresh_base()
    silent, there = Place(base, 20.0), Place(base.rpartition(".")[0] + ".2")

    async def scenario(asks):
        decision, taken = await timed(asks.ask(QUESTION))
        assert decision == GONE
        assert client.BUDGET < taken < client.PATIENCE + 0.5
        assert (await timed(asks.ask(QUESTION)))[1] < 0.2
        assert (silent.questions, there.questions) == (1, 2)

    asyncio.run(asked(tmp_path, [silent, there], scenario))


def test_the_first_of_the_list_is_asked_again_once_it_is_back(tmp_path, monkeypatch):
    base = fresh_base()
    near, far = Place(base), Place(base.rpartition(".")[0] + ".2")

    async def scenario(asks):
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

    asyncio.run(asked(tmp_path, [near, far], scenario))


def test_what_is_slow_while_others_are_answered_isnt_an_outage(tmp_path, quick):
    """Overload is answered 503, nothing is done without a decision, and the next question is asked all the same."""
    place = Place(fresh_base(), 5.0, asleep=1)
    place.beats = 1

    async def scenario(asks):
        assert await asks.heartbeat(BEAT)
        slow = asyncio.ensure_future(asks.ask(QUESTION))
        await place.asked.wait()
        assert await asks.heartbeat(BEAT)
        decision = await slow
        assert isinstance(decision, Reject)
        assert decision.status == 503
        assert await asks.ask(QUESTION) == GONE

    asyncio.run(asked(tmp_path, [place], scenario))


def test_those_who_are_known_dont_wait_behind_strangers(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "_QUEUE", 0.3)
    place = Place(fresh_base(), 2.0, asleep=client._STRANGERS)
    place.beats = 1

    async def scenario(asks):
        assert await asks.heartbeat(BEAT)
        strangers = [asyncio.ensure_future(asks.ask(QUESTION, known=False)) for _ in range(3 * client._STRANGERS)]
        await place.all_asked.wait()
        decision, taken = await timed(asks.ask(QUESTION))
        assert decision == GONE
        assert taken < 0.3
        answers = await asyncio.gather(*strangers)
        assert answers.count(GONE) == client._STRANGERS
        assert all(answer == GONE or answer.status == 503 for answer in answers)
        assert place.questions == client._STRANGERS + 1  # what waited too long was never asked

    asyncio.run(asked(tmp_path, [place], scenario))


class Stuck(Place):
    """Answers at once, but for the questions whose numbers ``slow`` has: these take ``delay`` seconds. ``connections``
    are those that questions came on, ``texts`` what they said."""

    def __init__(self, host: str, slow: frozenset[int], delay: float = 2.0) -> None:
        super().__init__(host, delay)
        self.slow = slow
        self.connections: list[object] = []
        self.texts: list[bytes] = []

    async def _decide(self, request: web.Request) -> web.Response:
        self.questions += 1
        number = self.questions
        assert request.transport is not None
        self.connections.append(request.transport.get_extra_info("peername"))
        self.texts.append(await request.read())
        await asyncio.sleep(self.delay if number in self.slow else 0)
        if not self.well:
            return web.Response(status=500)
        return web.Response(text=DECISION, content_type="application/json")


async def warm(asks, number=40):
    for _ in range(number):
        assert await asks.ask(QUESTION) == GONE


def test_a_question_that_is_slow_is_asked_again_on_another_connection(tmp_path):
    base = fresh_base()
    place, other = Stuck(base, frozenset([41])), Place(base.rpartition(".")[0] + ".2")

    async def scenario(asks):
        await warm(asks)
        decision, taken = await timed(asks.ask(QUESTION))
        assert decision == GONE
        assert taken < 1.0
        assert place.questions == 42
        assert place.texts[40] == place.texts[41]  # a repetition, by its token
        assert place.connections[40] != place.connections[41]
        assert other.questions == 0

    asyncio.run(asked(tmp_path, [place, other], scenario))


def test_a_control_plane_that_is_slow_for_all_isnt_asked_twice_for_all(tmp_path):
    place = Stuck(fresh_base(), frozenset(range(41, 1000)), 0.3)

    async def scenario(asks):
        await warm(asks)
        await asyncio.gather(*(asks.ask(QUESTION) for _ in range(50)))
        assert place.questions <= 90 + 0.05 * 90

    asyncio.run(asked(tmp_path, [place], scenario))


def test_while_questions_wait_for_their_turn_none_is_asked_twice(tmp_path):
    place = Stuck(fresh_base(), frozenset(range(41, 41 + client._KNOWN)), 0.3)

    async def scenario(asks):
        await warm(asks)
        await asyncio.gather(*(asks.ask(QUESTION) for _ in range(client._KNOWN + 1)))  # the last is answered at once
        assert place.questions == 40 + client._KNOWN + 1

    asyncio.run(asked(tmp_path, [place], scenario))


def test_one_that_has_failed_just_now_isnt_asked_twice_and_then_the_other_region_is(tmp_path, quick):
    base = fresh_base()
    place, other = Stuck(base, frozenset([42]), 5.0), Place(base.rpartition(".")[0] + ".2")

    async def scenario(asks):
        await warm(asks)
        place.well = False
        assert await asks.ask(QUESTION) == GONE
        assert (place.questions, other.questions) == (41, 1)
        place.well = True
        asks._regions.reverse()  # as a heartbeat would have it
        assert await asks.ask(QUESTION) == GONE
        assert (place.questions, other.questions) == (42, 2)

    asyncio.run(asked(tmp_path, [place, other], scenario))


def test_refusals_dont_tell_what_is_slow(tmp_path):
    """They come fast, and what is answered properly takes longer."""

    class Refusing(Place):
        async def _decide(self, _):
            self.questions += 1
            return web.Response(status=403)

    place = Refusing(fresh_base())

    async def scenario(asks):
        for _ in range(40):
            await asks.ask(QUESTION)
        assert (place.questions, asks._regions[0].hedges.after) == (40, None)

    asyncio.run(asked(tmp_path, [place], scenario))
