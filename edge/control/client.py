"""The client of the decision API: questions and heartbeats, over an ordered list of control planes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import time
from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
from botocore.exceptions import BotoCoreError
from pydantic import BaseModel, ValidationError

from edge.control.identity import Identity
from edge.control.sigv4 import Sigv4
from lambdas.contract import VERSION, Decision, DecisionEnvelope, Heartbeat, HeartbeatReply, Question, QuestionEnvelope

log = logging.getLogger(__name__)

BUDGET = 4.5
"""Seconds for a question, all control planes tried included: the phone is answered within 5."""

_LABEL = "sipwizard edge request 1"
_MAX_CONNECTIONS = 100
_Reply = TypeVar("_Reply", bound=BaseModel)


class ControlClient:
    """Asks the control planes ``urls`` in turn, beginning with the one that answered last."""

    def __init__(self, identity: Identity, urls: Sequence[str], auth: str) -> None:
        self._identity = identity
        self._urls = list(urls)
        self._sigv4 = Sigv4() if auth == "aws_iam" else None
        self._session: aiohttp.ClientSession | None = None
        self._faults: dict[str, str] = {}

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(connector=connector)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, question: Question) -> Decision | None:
        """The decision, or None if none could be had in time; the log says why."""
        envelope = QuestionEnvelope(version=VERSION, question=question)
        reply = await self._post("/edge/decisions", envelope, DecisionEnvelope)
        return reply.decision if reply is not None else None

    async def heartbeat(self, beat: Heartbeat) -> HeartbeatReply | None:
        """The reply, or None if none could be had; the log says why."""
        return await self._post("/edge/heartbeat", beat, HeartbeatReply)

    async def _post(self, path: str, body: BaseModel, kind: type[_Reply]) -> _Reply | None:
        data = body.model_dump_json().encode()
        end = time.monotonic() + BUDGET
        for index, url in enumerate(list(self._urls)):
            share = (end - time.monotonic()) / (len(self._urls) - index)
            fault = "no time left"
            try:
                async with asyncio.timeout(share):
                    try:
                        answer = await self._once(url, path, data)
                    except aiohttp.ClientConnectionError:
                        # A kept connection that the other end has closed meanwhile; a question may be asked twice.
                        answer = await self._once(url, path, data)
                    reply = kind.model_validate_json(answer)
            except (aiohttp.ClientError, ValidationError, OSError, _Refused, BotoCoreError) as error:
                fault = f"{type(error).__name__}: {error}"
            except TimeoutError:
                fault = f"no answer within {share:.1f} s"
            else:
                if self._faults.pop(url, None) is not None:
                    log.info("control plane %s answers", url)
                if index:
                    self._urls.remove(url)
                    self._urls.insert(0, url)
                return reply
            name = fault.partition(":")[0]
            if self._faults.get(url) != name:  # once for each fault, not every two seconds
                log.warning("control plane %s%s: %s", url, path, fault)
            self._faults[url] = name
        return None

    async def _once(self, url: str, path: str, data: bytes) -> bytes:
        assert self._session is not None
        headers = {"content-type": "application/json", **self._signature(path, data)}
        if self._sigv4 is not None:
            headers = self._sigv4.sign(url + path, headers, data)
        async with self._session.post(url + path, data=data, headers=headers) as response:
            body = await response.read()
            if response.status != 200:
                raise _Refused(f"status {response.status}: {body[:300].decode(errors='replace')}")
            return body

    def _signature(self, path: str, data: bytes) -> dict[str, str]:
        """Proof that this edge sent it, whatever carries the request there."""
        stamp = f"{time.time():.3f}"
        digest = hashlib.sha256(data).hexdigest()
        signed = "\n".join((_LABEL, "POST", urlsplit(path).path, self._identity.edge, stamp, digest)).encode()
        return {
            "x-edge": self._identity.edge,
            "x-edge-time": stamp,
            "x-edge-signature": base64.b64encode(self._identity.key.sign(signed)).decode(),
        }


class _Refused(Exception):
    pass
