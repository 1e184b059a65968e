"""The client of the decision API: questions and heartbeats, over an ordered list of control planes."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError
from pydantic import BaseModel, ValidationError

from edge.control.breaker import Breaker
from edge.control.hedging import Hedges
from edge.control.http import HttpClient, HttpError
from edge.control.identity import Identity
from edge.control.journal import DeliveryOutcome
from edge.control.sigv4 import Sigv4
from lambdas.contract import (
    VERSION,
    CertificatesReply,
    CertificatesRequest,
    Decision,
    DecisionEnvelope,
    Heartbeat,
    HeartbeatReply,
    ProvidersReply,
    ProvidersRequest,
    Question,
    QuestionEnvelope,
    Reject,
    ReportReceipt,
    signed_text,
)

log = logging.getLogger(__name__)

BUDGET = 4.5
"""Seconds for a question, all control planes tried included: the phone is answered within 5."""

PATIENCE = 10.0
"""Seconds for a question that has arrived where nobody may be awake: a function that isn't warm takes its time once,
and whoever hangs up on it has it begin anew."""

COLD = 300.0
"""Seconds without an answer after which a control plane's functions may be asleep."""

RETURN = 30.0
"""Seconds between heartbeats that begin with the first of the list again, where another one has answered last."""

_RESERVE = 2.0  # seconds that waiting for one control plane leaves for each further one
_KNOWN, _STRANGERS = 60, 30  # questions at once: about those who have shown who they are, and about others
_QUEUE = 2.0  # seconds that a question waits for its turn
_OVERLOADED = Reject(status=503, retry_after=5)
_DECISIONS = "/edge/decisions"
_UNACCEPTABLE = {400, 413, 422}
_Reply = TypeVar("_Reply", bound=BaseModel)


class _Region:
    """One control plane, and how it has answered lately."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.breaker = Breaker()
        self.hedges = Hedges()
        self._answered_at = float("-inf")
        self._fault = ""

    def answered(self, now: float) -> None:
        self._answered_at = now
        self.breaker.answered()

    def well(self) -> None:
        """It has done what it was asked for."""
        if self._fault:
            log.info("control plane %s answers", self.url)
        self._fault = ""

    def failed(self, path: str, fault: str) -> None:
        """Log a fault once, not every two seconds."""
        name = fault.partition(":")[0]
        if self._fault != name:
            log.warning("control plane %s%s: %s", self.url, path, fault)
        self._fault = name

    def asleep(self, now: float) -> bool:
        """Whether nobody there may have been awake just now."""
        return now - self._answered_at > COLD

    def awake_since(self, when: float) -> bool:
        """Whether it has answered somebody else since: then who still waits may be at a function that isn't warm."""
        return self._answered_at > when


class _Sent:
    """When a request has left, its connection made; None until then."""

    def __init__(self) -> None:
        self.at: float | None = None

    def note(self) -> None:
        self.at = time.monotonic()


class ControlClient:
    """Asks the control planes ``urls`` in turn, beginning with the one that answered last; heartbeats find out whether
    one that is named before it is back."""

    def __init__(
        self,
        identity: Identity,
        urls: Sequence[str],
        auth: str,
        counters: Counter[str] | None = None,
        share: int = 1,
    ) -> None:
        """``counters`` has how many questions were asked twice; ``share``: so many of them are one edge together."""
        self._counters = Counter() if counters is None else counters
        self._identity = identity
        self._preferred = tuple(_Region(url) for url in urls)
        self._regions = list(self._preferred)
        self._tried_return = float("-inf")
        self._sigv4 = Sigv4() if auth == "aws_iam" else None
        self._http = HttpClient()
        self._lanes = {
            True: asyncio.Semaphore(max(1, _KNOWN // share)),
            False: asyncio.Semaphore(max(1, _STRANGERS // share)),
        }

    def close(self) -> None:
        self._http.close()

    async def ask(self, question: Question, known: bool = True) -> Decision | None:
        """The decision, or None if nobody answers; the log says why. Where too much is asked at once, or it takes too
        long though others are answered, that is a decision as well: 503. ``known``: whom it is about has shown who he
        is; strangers have a lane of their own."""
        lane = self._lanes[known]
        try:
            if lane.locked():
                async with asyncio.timeout(_QUEUE):
                    await lane.acquire()
            else:
                await lane.acquire()
        except TimeoutError:
            return _OVERLOADED
        try:
            return await self._ask(question)
        finally:
            lane.release()

    async def _ask(self, question: Question) -> Decision | None:
        envelope = QuestionEnvelope(version=VERSION, question=question)
        refusals: list[int] = []
        data = envelope.model_dump_json().encode()
        reply = await self._post(_DECISIONS, data, DecisionEnvelope, refusals=refusals)
        if reply is None and refusals:
            # It can be had, and won't have us (any more): not a case for going on without it.
            return _OVERLOADED
        return reply.decision if reply is not None else None

    async def heartbeat(self, beat: Heartbeat) -> HeartbeatReply | None:
        """The reply, or None if none could be had; the log says why."""
        return await self._post("/edge/heartbeat", beat.model_dump_json().encode(), HeartbeatReply, probe=True)

    async def providers(self, request: ProvidersRequest) -> ProvidersReply | None:
        """The accounts that an address of ours has to register; None if none could be had."""
        return await self._post("/edge/providers", request.model_dump_json().encode(), ProvidersReply)

    async def certificates(self, request: CertificatesRequest) -> CertificatesReply | None:
        """Those that are asked for, as far as there are any for this edge; None if none could be had."""
        return await self._post("/edge/certificates", request.model_dump_json().encode(), CertificatesReply)

    async def report(self, reports: list[bytes]) -> DeliveryOutcome:
        """Deliver reports, each as JSON."""
        data = b'{"version":%d,"reports":[%b]}' % (VERSION, b",".join(reports))
        refusals: list[int] = []
        receipt = await self._post("/edge/reports", data, ReportReceipt, refusals=refusals)
        if receipt is not None and receipt.refused:
            log.error("the control plane could not use %d of %d reports", receipt.refused, len(reports))
        if receipt is not None:
            return "taken"
        everybody = len(refusals) == len(self._regions)
        return "refused" if everybody and set(refusals) <= _UNACCEPTABLE else "later"

    async def _post(
        self, path: str, data: bytes, kind: type[_Reply], probe: bool = False, refusals: list[int] | None = None
    ) -> _Reply | None:
        """``probe``: ask those too that didn't answer just now. ``refusals`` gets the statuses of those that say no,
        and 503 for those that were too slow, though others were answered meanwhile."""
        begun = now = time.monotonic()
        end = begun + BUDGET
        regions = self._asked(begun, probe)
        for index, region in enumerate(regions):
            others = len(regions) - index - 1
            if now >= end:  # one that may have been asleep was waited for
                end = now + _RESERVE * (others + 1)
            share = (end - now) / (others + 1)
            longest = begun + PATIENCE - _RESERVE * others - now
            silent = True
            try:
                answer = await self._answer(region, path, data, share, longest, probe)
                reply = kind.model_validate_json(answer)
            except _ControlRefused as error:
                silent = False
                region.hedges.failed(time.monotonic())
                fault = f"{type(error).__name__}: {error}"
                if error.status < 500:  # it works, and says no
                    if refusals is not None:
                        refusals.append(error.status)
                    now = time.monotonic()
                    region.answered(now)
                    region.failed(path, fault)
                    continue
            except _TooSlow as error:
                if refusals is not None:
                    refusals.append(503)
                now = time.monotonic()
                region.hedges.failed(now)
                region.failed(path, f"TimeoutError: {error}")
                continue
            except (HttpError, ValidationError, OSError, BotoCoreError) as error:
                # Which a time-out is, too.
                fault = f"{type(error).__name__}: {error}"
            else:
                region.answered(time.monotonic())
                region.well()
                if region is not self._regions[0]:
                    self._regions.remove(region)
                    self._regions.insert(0, region)
                return reply
            now = time.monotonic()
            region.hedges.failed(now)
            region.breaker.failed(now, silent)
            region.failed(path, fault)
        return None

    def _asked(self, now: float, probe: bool) -> list[_Region]:
        """Who is asked, in order."""
        if probe and now - self._tried_return >= RETURN:
            self._tried_return = now
            return list(self._preferred)
        return [region for region in self._regions if probe or not region.breaker.open(now)]

    async def _answer(
        self, region: _Region, path: str, data: bytes, share: float, longest: float, probe: bool
    ) -> bytes:
        """The body of an answer within ``share`` seconds; within ``longest`` ones where the request has arrived at a
        function that may not be warm. A question that is slow is asked twice (``hedging``). Heartbeats don't wait for
        a function that isn't warm where another is: the next may find that, and a lease is short. Raises
        _ControlRefused, _TooSlow, TimeoutError, HttpError."""
        sent, begun = _Sent(), time.monotonic()
        if path == _DECISIONS:
            region.hedges.asked(begun)
        asleep = region.asleep(begun)
        asked = [asyncio.ensure_future(self._sent(region.url, path, data, sent))]
        try:
            slow = region.hedges.after if path == _DECISIONS and not asleep else None
            if slow is not None and slow < share:
                await asyncio.wait(asked, timeout=slow)
                if not asked[0].done() and self._may_hedge(region, sent):
                    asked.append(asyncio.ensure_future(self._sent(region.url, path, data, _Sent())))
            answer = await _first(asked, share - (time.monotonic() - begun))
            cold = sent.at is not None and (asleep or (not probe and region.awake_since(sent.at)))
            if answer is None and cold:
                answer = await _first(asked, longest - (time.monotonic() - begun))
            if answer is not None:
                body = answer.result()
                if path == _DECISIONS:
                    region.hedges.answered(time.monotonic() - begun)
                return body
            kind = _TooSlow if sent.at is not None and region.awake_since(sent.at) else TimeoutError
            raise kind(f"no answer within {time.monotonic() - begun:.1f} s")
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    def _may_hedge(self, region: _Region, sent: _Sent) -> bool:
        """Whether a question that was ``sent``, and is slow, may be asked a second time."""
        now = time.monotonic()
        waits = any(lane.locked() for lane in self._lanes.values())
        if sent.at is None or waits or region.breaker.open(now) or not region.hedges.take(now):
            return False
        self._counters["hedged_questions"] += 1
        return True

    async def _sent(self, url: str, path: str, data: bytes, sent: _Sent) -> bytes:
        headers = {"content-type": "application/json", **self._signature(path, data)}
        if self._sigv4 is not None:
            headers = self._sigv4.sign(url + path, headers, data, time.time())
        status, body = await self._http.post(url + path, headers, data, sent.note)
        if status != 200:
            raise _ControlRefused(status, body[:300].decode(errors="replace"))
        return body

    def _signature(self, path: str, data: bytes) -> dict[str, str]:
        """Proof that this edge sent it, whatever carries the request there."""
        stamp = f"{time.time():.3f}"
        signed = signed_text("POST", urlsplit(path).path, self._identity.edge, stamp, data)
        return {
            "x-edge": self._identity.edge,
            "x-edge-time": stamp,
            "x-edge-signature": base64.b64encode(self._identity.key.sign(signed)).decode(),
        }


async def _first(asked: Sequence[asyncio.Future[bytes]], seconds: float) -> asyncio.Future[bytes] | None:
    """The first that is answered within so many seconds, or the last that fails; None if none is done by then."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        done = [one for one in asked if one.done()]
        well = [one for one in done if one.exception() is None]
        if well or len(done) == len(asked):
            return (well or done)[-1]
        pending = [one for one in asked if not one.done()]
        if not (await asyncio.wait(pending, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED))[0]:
            return None


class _TooSlow(Exception):
    """It works, and has answered others since it was asked: that is overload, not silence."""


class _ControlRefused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"status {status}: {text}")
        self.status = status
