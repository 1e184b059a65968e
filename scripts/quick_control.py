"""A control plane that answers some REGISTERs from memory, at once: for cases with more of them than the real one and
its tables, on the same machine, can decide, or with more accounts than can be made there in time.

``python -m scripts.quick_control --host H --port P --behind URL`` answers those of the accounts ``many0``, ``many1``
and so on, whose password is ``PASSWORD``, and hands everything else on to ``URL``. ``--delay S``: every decision takes
``S`` seconds more. ``GET /counted`` tells how many REGISTERs it has decided, and how many of them at once at most."""

from __future__ import annotations

import argparse
import asyncio

import aiohttp
import uvloop
from aiohttp import web
from pydantic import ValidationError

from lambdas.contract import (
    VERSION,
    Accept,
    Binding,
    Challenge,
    Decision,
    DecisionEnvelope,
    Grant,
    QuestionEnvelope,
    RegisterQuestion,
    answers,
    binding_id,
)
from lambdas.decisions.digest import hashes

PASSWORD = "staple-a-blue-horse"  # noqa: S105 - of accounts that exist nowhere else
_DURABLE = 3600  # seconds
_HOP = {"host", "connection", "transfer-encoding", "content-length"}


def username(number: int) -> str:
    """Of one of its accounts."""
    return f"many{number}"


def decide(question: RegisterQuestion) -> Decision:
    """As the control plane does for an account with one phone: its latest Contact is its only one."""
    grant = Grant(tenant="many", version=1, **hashes(question.aor, PASSWORD))
    if not answers(question.credentials, "REGISTER", grant.ha1_md5) or not question.contacts:
        return Challenge()
    contact = question.contacts[0]
    binding = Binding(
        id=binding_id(question.aor, contact.key),
        aor=question.aor,
        contact=contact.uri,
        flow=question.flow,
        expires=_DURABLE,
        key=contact.key,
        call_id=question.call_id,
    )
    return Accept(bindings=[binding], grant=grant)


class QuickControl:
    """Serves what edges ask."""

    def __init__(self, behind: str, delay: float = 0.0) -> None:
        self._behind = behind
        self._delay = delay
        self._decided = self._deciding = self._most = 0
        self._session: aiohttp.ClientSession | None = None

    async def serve(self, request: web.Request) -> web.Response:
        if request.path == "/counted":
            return web.json_response({"decided": self._decided, "at_once": self._most})
        body = await request.read()
        question = None
        if request.path == "/edge/decisions":
            question = _question(body)
            self._deciding += question is not None
            self._most = max(self._most, self._deciding)
            await asyncio.sleep(self._delay)
        if question is not None:
            self._deciding -= 1
            self._decided += 1
            answer = DecisionEnvelope(version=VERSION, decision=decide(question))
            return web.Response(body=answer.model_dump_json().encode(), content_type="application/json")
        return await self._hand_on(request, body)

    async def _hand_on(self, request: web.Request, body: bytes) -> web.Response:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        async with self._session.request(
            request.method, self._behind + request.path_qs, data=body, headers=headers
        ) as answer:
            content = answer.headers.get("content-type", "application/json")
            return web.Response(status=answer.status, body=await answer.read(), headers={"content-type": content})


def _question(body: bytes) -> RegisterQuestion | None:
    """What is asked about one of the accounts here."""
    if b'"aor":"many' not in body:
        return None
    try:
        question = QuestionEnvelope.model_validate_json(body).question
    except ValidationError:
        return None
    return question if isinstance(question, RegisterQuestion) else None


async def _run(host: str, port: int, behind: str, delay: float) -> None:
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", QuickControl(behind, delay).serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.quick_control", description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--behind", required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    uvloop.run(_run(options.host, options.port, options.behind, options.delay))


if __name__ == "__main__":
    main()
