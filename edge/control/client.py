"""The client of the decision API: questions and heartbeats, over an ordered list of control planes."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
from botocore.exceptions import BotoCoreError
from pydantic import BaseModel, ValidationError

from edge.control.breaker import Breaker
from edge.control.identity import Identity
from edge.control.journal import DeliveryOutcome
from edge.control.sigv4 import Sigv4
from lambdas.contract import (
    VERSION,
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

RETURN = 30.0
"""Seconds between heartbeats that begin with the first of the list again, where another one has answered last."""

_MAX_CONNECTIONS = 100
_RETRY_AFTER = 5
_UNACCEPTABLE = {400, 413, 422}
_Reply = TypeVar("_Reply", bound=BaseModel)


class ControlClient:
    """Asks the control planes ``urls`` in turn, beginning with the one that answered last; heartbeats find out whether
    one that is named before it is back."""

    def __init__(self, identity: Identity, urls: Sequence[str], auth: str) -> None:
        self._identity = identity
        self._preferred = tuple(urls)
        self._urls = list(urls)
        self._tried_return = float("-inf")
        self._sigv4 = Sigv4() if auth == "aws_iam" else None
        self._session: aiohttp.ClientSession | None = None
        self._faults: dict[str, str] = {}
        self._breakers = {url: Breaker() for url in urls}

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(connector=connector)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, question: Question) -> Decision | None:
        """The decision, or None if none could be had in time; the log says why."""
        envelope = QuestionEnvelope(version=VERSION, question=question)
        refusals: list[int] = []
        data = envelope.model_dump_json().encode()
        reply = await self._post("/edge/decisions", data, DecisionEnvelope, refusals=refusals)
        if reply is None and refusals:
            # It can be had, and won't have us (any more): not a case for going on without it.
            return Reject(status=503, retry_after=_RETRY_AFTER)
        return reply.decision if reply is not None else None

    async def heartbeat(self, beat: Heartbeat) -> HeartbeatReply | None:
        """The reply, or None if none could be had; the log says why."""
        return await self._post("/edge/heartbeat", beat.model_dump_json().encode(), HeartbeatReply, probe=True)

    async def providers(self, request: ProvidersRequest) -> ProvidersReply | None:
        """The accounts that an address of ours has to register; None if none could be had."""
        return await self._post("/edge/providers", request.model_dump_json().encode(), ProvidersReply)

    async def report(self, reports: list[bytes]) -> DeliveryOutcome:
        """Deliver reports, each as JSON."""
        data = b'{"version":%d,"reports":[%b]}' % (VERSION, b",".join(reports))
        refusals: list[int] = []
        receipt = await self._post("/edge/reports", data, ReportReceipt, refusals=refusals)
        if receipt is not None and receipt.refused:
            log.error("the control plane could not use %d of %d reports", receipt.refused, len(reports))
        if receipt is not None:
            return "taken"
        everybody = len(refusals) == len(self._urls)
        return "refused" if everybody and set(refusals) <= _UNACCEPTABLE else "later"

    async def _post(
        self, path: str, data: bytes, kind: type[_Reply], probe: bool = False, refusals: list[int] | None = None
    ) -> _Reply | None:
        """``probe``: ask those too that didn't answer just now. ``refusals`` gets the statuses of those that say no."""
        now = time.monotonic()
        end = now + BUDGET
        if probe and now - self._tried_return >= RETURN:
            self._tried_return = now
            urls = list(self._preferred)
        else:
            urls = [url for url in self._urls if probe or not self._breakers[url].open(now)]
        for index, url in enumerate(urls):
            share = (end - time.monotonic()) / (len(urls) - index)
            fault, silent = "no time left", True
            try:
                async with asyncio.timeout(share):
                    try:
                        answer = await self._once(url, path, data)
                    except aiohttp.ClientConnectionError:
                        # A kept connection that the other end has closed meanwhile; a question may be asked twice.
                        answer = await self._once(url, path, data)
                    reply = kind.model_validate_json(answer)
            except _Refused as error:
                silent = False
                fault = f"{type(error).__name__}: {error}"
                if error.status < 500:  # it works, and says no
                    if refusals is not None:
                        refusals.append(error.status)
                    self._breakers[url].answered()
                    self._note(url, path, fault)
                    continue
            except (aiohttp.ClientError, ValidationError, OSError, BotoCoreError) as error:
                fault = f"{type(error).__name__}: {error}"
            except TimeoutError:
                fault = f"no answer within {share:.1f} s"
            else:
                if self._faults.pop(url, None) is not None:
                    log.info("control plane %s answers", url)
                self._breakers[url].answered()
                if url != self._urls[0]:
                    self._urls.remove(url)
                    self._urls.insert(0, url)
                return reply
            self._breakers[url].failed(time.monotonic(), silent)
            self._note(url, path, fault)
        return None

    def _note(self, url: str, path: str, fault: str) -> None:
        """Log a fault once, not every two seconds."""
        name = fault.partition(":")[0]
        if self._faults.get(url) != name:
            log.warning("control plane %s%s: %s", url, path, fault)
        self._faults[url] = name

    async def _once(self, url: str, path: str, data: bytes) -> bytes:
        assert self._session is not None
        headers = {"content-type": "application/json", **self._signature(path, data)}
        if self._sigv4 is not None:
            headers = self._sigv4.sign(url + path, headers, data)
        async with self._session.post(url + path, data=data, headers=headers) as response:
            body = await response.read()
            if response.status != 200:
                raise _Refused(response.status, body[:300].decode(errors="replace"))
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


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"status {status}: {text}")
        self.status = status
