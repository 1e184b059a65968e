"""Pushes that are to be sent: the queue of them, and what keeps phones and services from getting too many."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.expressions.update import Action

from lambdas.contract import Push
from lambdas.decisions.push import PAUSE
from lambdas.repositories.call_models import PushItem
from lambdas.repositories.clients import client
from lambdas.repositories.transactions import conditional

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

AT_ONCE = 10
"""Messages that the queue gives at once."""
_KEEP = 120  # seconds that it is remembered whom a push was sent to


class NotQueued(Exception):
    """The queue hasn't taken it; the text says why."""


@dataclass(frozen=True, slots=True)
class PushOrder:
    """One push. ``at`` is when it was asked for, Unix time; the rest as in a PushQuestion and its binding's Push."""

    tenant: str
    aor: str
    binding: str
    provider: str
    prid: str = field(repr=False)
    param: str
    why: str
    call_id: str
    caller: str
    at: float

    @property
    def push(self) -> Push:
        return Push(provider=self.provider, prid=self.prid, param=self.param)


class Pushes:
    """``PUSH_QUEUE`` is the URL of an SQS queue; without one nobody is woken."""

    def __init__(self) -> None:
        self._queue = os.environ.get("PUSH_QUEUE", "")

    @property
    def available(self) -> bool:
        return bool(self._queue)

    # How many

    def claim(self, phone: str, now: float) -> bool:
        """Whether ``phone`` (as ``phone_name`` has it) is to get a push now: none was sent to it a moment ago."""
        item = PushItem(f"push#{phone}", "last")
        last: list[Action] = [PushItem.at.set(now), PushItem.ttl.set(int(now) + _KEEP)]
        free = PushItem.at.does_not_exist() | (PushItem.at <= now - PAUSE)
        return conditional(lambda: item.update(last, condition=free))

    def release(self, phone: str) -> None:
        """What ``phone`` was claimed for hasn't been sent."""
        PushItem(f"push#{phone}", "last").update([PushItem.at.set(0)])

    def take(self, aor: str, most: int, now: float) -> bool:
        """Whether the account has one left of ``most`` in this minute of Unix time."""
        item = PushItem(f"push#{aor}", str(int(now) // 60))
        more: list[Action] = [PushItem.number.add(1), PushItem.ttl.set(int(now) + _KEEP)]
        left = PushItem.number.does_not_exist() | (PushItem.number < most)
        return conditional(lambda: item.update(more, condition=left))

    # The queue

    def prepare(self) -> None:
        """Make the client, before several threads would at once."""
        self._sqs  # noqa: B018

    def send(self, order: PushOrder) -> None:
        """Have it sent at once. The queue takes turns between tenants. Raises NotQueued."""
        try:
            self._sending.send_message(
                QueueUrl=self._queue, MessageBody=json.dumps(asdict(order)), MessageGroupId=order.tenant
            )
        except (BotoCoreError, ClientError) as error:
            raise NotQueued(str(error)) from error

    def receive(self, seconds: int) -> list[tuple[str, str]]:
        """Up to AT_ONCE messages, waiting for ``seconds``: body and receipt of each."""
        reply = self._sqs.receive_message(
            QueueUrl=self._queue, MaxNumberOfMessages=AT_ONCE, WaitTimeSeconds=seconds
        )  # fmt: skip
        return [(one["Body"], one["ReceiptHandle"]) for one in reply.get("Messages", [])]

    def done(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=receipt)

    @cached_property
    def _sending(self) -> SQSClient:
        """A call waits while it is sent, so it may not take long."""
        made: SQSClient = client("sqs", Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1}))
        return made

    @cached_property
    def _sqs(self) -> SQSClient:
        made: SQSClient = client("sqs", Config(connect_timeout=1, read_timeout=10, retries={"total_max_attempts": 2}))
        return made


def read(body: str) -> PushOrder:
    """A message's."""
    return PushOrder(**json.loads(body))
