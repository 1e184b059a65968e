"""Webhooks in the directory, and the queue of what is to be delivered to them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from lambdas.repositories.directory import Directory, Missing
from lambdas.repositories.items import item_key
from lambdas.repositories.models import HookItem, TenantItem
from lambdas.repositories.vault import Vault

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

_LONGEST_DELAY = 12 * 3600 - 600  # seconds; SQS takes no more than 12 hours in all


@dataclass(frozen=True, slots=True)
class Notice:
    """What has happened, for one hook. ``id`` is the same whenever it is told again; ``at`` is Unix time."""

    tenant: str
    hook: str
    kind: str
    id: str
    at: int
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hook:
    """``id`` is ``tenant/name``."""

    id: str
    url: str
    secret: str = field(repr=False)


class Hooks:
    """``HOOKS_QUEUE`` is the URL of an SQS queue; without one there are no webhooks."""

    def __init__(self, directory: Directory, vault: Vault) -> None:
        self._directory = directory
        self._vault = vault
        self._queue = os.environ.get("HOOKS_QUEUE", "")

    @property
    def available(self) -> bool:
        return bool(self._queue)

    # Hooks

    def item(self, hook: str) -> HookItem | None:
        return self._directory.get(HookItem, hook)

    def get(self, hook: str) -> Hook | None:
        """With its secret. Raises Unsealed."""
        item = self.item(hook)
        return Hook(item.id, item.url, self._vault.open(item.id, item.secret)) if item is not None else None

    def create(self, tenant: str, name: str, url: str, events: list[str], secret: str) -> HookItem:
        """Raises Taken, Unsealed."""
        full = f"{tenant}/{name}"
        sealed = self._vault.seal(full, secret)
        item = HookItem(
            *item_key(HookItem, full),
            id=full,
            tenant=tenant,
            name=name,
            url=url,
            events=events,
            secret=sealed,
            listing=f"hooks#{tenant}",
        )
        self._directory.create(item)
        self._note(tenant)
        return item

    def delete(self, item: HookItem) -> None:
        """Raises Missing, Stale."""
        self._directory.delete(item)
        self._note(item.tenant)

    def _note(self, tenant: str) -> None:
        """With the tenant: which hooks want to hear of what."""
        hooked: dict[str, list[str]] = {}
        for item in self._directory.all(f"hooks#{tenant}"):
            for kind in item.events:
                hooked.setdefault(kind, []).append(item.name)
        owner = self._directory.get(TenantItem, tenant)
        if owner is None:
            raise Missing
        self._directory.update(owner, hooked=hooked)

    # The queue

    def tell(self, notice: Notice) -> None:
        """Have it delivered some time soon."""
        self._sqs.send_message(QueueUrl=self._queue, MessageBody=json.dumps(asdict(notice)))

    def receive(self, seconds: int) -> list[tuple[str, str, int]]:
        """Up to ten messages, waiting for ``seconds``: each one's body, receipt, and how often it was received."""
        reply = self._sqs.receive_message(
            QueueUrl=self._queue,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=seconds,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [
            (one["Body"], one["ReceiptHandle"], int(one["Attributes"]["ApproximateReceiveCount"]))
            for one in reply.get("Messages", [])
        ]

    def later(self, receipt: str, seconds: int) -> None:
        """Deliver it again after that time."""
        self._sqs.change_message_visibility(
            QueueUrl=self._queue, ReceiptHandle=receipt, VisibilityTimeout=min(seconds, _LONGEST_DELAY)
        )

    def done(self, receipt: str) -> None:
        self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=receipt)

    @cached_property
    def _sqs(self) -> SQSClient:
        config = Config(connect_timeout=1, read_timeout=10, retries={"total_max_attempts": 2})
        return boto3.client("sqs", config=config)


def read(body: str) -> Notice:
    """A message's."""
    return Notice(**json.loads(body))
