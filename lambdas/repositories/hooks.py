"""Webhooks in the directory, and the queue of what is to be delivered to them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from lambdas.repositories.clients import client
from lambdas.repositories.directory import Directory, Missing, Stale, Taken, as_read
from lambdas.repositories.items import item_key
from lambdas.repositories.models import DirectoryItem, HookItem, TenantItem, new_revision
from lambdas.repositories.transactions import Turns, Write, pause, transact
from lambdas.repositories.vault import Vault

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MOST = 10
"""Of one tenant."""
AT_ONCE = 10
"""Messages that the queue takes, or gives, at once."""
_RACES = 8
_LONGEST_DELAY = 12 * 3600 - 600  # seconds; SQS takes no more than 12 hours in all


Hooked = dict[str, list[str]]  # kinds of events, and the names of the hooks that want to hear of them


class NotTold(Exception):
    """The queue hasn't taken it; the text says why."""


class Full(Exception):
    """The tenant has no room for another hook."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What has happened, for one hook, or for whom to mail it ``to``. ``id`` is the same whenever it is told again;
    ``at`` is Unix time."""

    tenant: str
    hook: str
    kind: str
    id: str
    at: int
    data: dict[str, Any]
    to: str = ""


@dataclass(frozen=True, slots=True)
class StoredHook:
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
        self._turns = Turns()

    @property
    def available(self) -> bool:
        return bool(self._queue)

    # Hooks

    def item(self, hook: str) -> HookItem | None:
        return self._directory.get(HookItem, hook)

    def get(self, hook: str) -> StoredHook | None:
        """With its secret. Raises Unsealed."""
        item = self.item(hook)
        return (
            StoredHook(item.id, item.url, self._vault.open("hook", item.id, item.secret)) if item is not None else None
        )

    def create(self, tenant: str, name: str, url: str, events: list[str], secret: str) -> HookItem:
        """Raises Taken, Full, Missing, Unsealed."""
        full = f"{tenant}/{name}"
        sealed = self._vault.seal("hook", full, secret)
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
        absent = DirectoryItem.pk.does_not_exist()

        def wanting(hooked: Hooked) -> Hooked:
            if self.item(full) is not None:
                raise Taken
            hooked = self._existing(tenant, hooked)
            if len(set().union(*hooked.values())) >= MOST:
                raise Full
            return hooked | {kind: [*hooked.get(kind, ()), name] for kind in events}

        self._write(tenant, wanting, lambda transaction: transaction.save(item, condition=absent))
        return item

    def change(self, item: HookItem, url: str, events: list[str]) -> None:
        """Raises Missing, Stale."""
        revision = new_revision()
        actions: list[Action] = [
            HookItem.url.set(url), HookItem.events.set(events), HookItem.revision.set(revision)
        ]  # fmt: skip

        def wanting(hooked: Hooked) -> Hooked:
            left = self._others(item, hooked)
            return left | {kind: [*left.get(kind, ()), item.name] for kind in events}

        unchanged = as_read(item)
        self._write(item.tenant, wanting, lambda transaction: transaction.update(item, actions, condition=unchanged))
        item.url, item.events, item.revision = url, events, revision

    def delete(self, item: HookItem) -> None:
        """Raises Missing, Stale."""
        self._write(
            item.tenant,
            lambda hooked: self._others(item, hooked),
            lambda transaction: transaction.delete(item, condition=as_read(item)),
        )

    def _others(self, item: HookItem, hooked: Hooked) -> Hooked:
        """Without ``item``'s name. Raises Missing if there is no such hook any more."""
        if self.item(item.id) is None:
            raise Missing
        left = {kind: [name for name in names if name != item.name] for kind, names in hooked.items()}
        return {kind: names for kind, names in left.items() if names}

    def _existing(self, tenant: str, hooked: Hooked) -> Hooked:
        """Without the names of hooks that are gone."""
        names = {f"{tenant}/{name}": name for name in set().union(*hooked.values())}
        there = {names[full] for full in self._directory.existing(HookItem, list(names))}
        return {kind: left for kind, given in hooked.items() if (left := [name for name in given if name in there])}

    def _write(self, tenant: str, wanting: Callable[[Hooked], Hooked], write: Write) -> None:
        """Both or neither: ``write``, and the note with the tenant of which hooks want to hear of what."""
        with self._turns.of(tenant):
            self._write_both(tenant, wanting, write)

    def _write_both(self, tenant: str, wanting: Callable[[Hooked], Hooked], write: Write) -> None:
        for tries in range(_RACES):
            owner = self._directory.get(TenantItem, tenant)
            if owner is None:
                raise Missing
            owner.guarded = True
            actions: list[Action] = [
                TenantItem.hooked.set(wanting(dict(owner.hooked))),
                TenantItem.revision.set(new_revision()),
            ]

            def both(transaction: TransactWrite, owner: TenantItem = owner, actions: list[Action] = actions) -> None:
                write(transaction)
                transaction.update(owner, actions, condition=as_read(owner))

            if transact(both):
                return
            pause(tries)
        raise Stale

    # The queue

    def prepare(self) -> None:
        """Make the clients, before several threads would at once: they aren't made for that."""
        self._vault.prepare()
        self._sqs  # noqa: B018

    def tell(self, notices: Sequence[Notice]) -> None:
        """Have them, at most AT_ONCE, delivered soon. The queue takes turns between tenants. Raises NotTold."""
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(number), "MessageBody": json.dumps(asdict(notice)), "MessageGroupId": notice.tenant}
            for number, notice in enumerate(notices)
        ]
        try:
            failed = self._sending.send_message_batch(QueueUrl=self._queue, Entries=entries).get("Failed")
        except (BotoCoreError, ClientError) as error:
            raise NotTold(str(error)) from error
        if failed:
            raise NotTold(f"{failed[0]['Code']}: {failed[0].get('Message', '')}")

    def receive(self, seconds: int) -> list[tuple[str, str, int]]:
        """Up to AT_ONCE messages, waiting for ``seconds``: each one's body, receipt, and how often it was received."""
        reply = self._sqs.receive_message(
            QueueUrl=self._queue,
            MaxNumberOfMessages=AT_ONCE,
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
    def _sending(self) -> SQSClient:
        """Calls and registrations wait while something is sent, so it may not take long."""
        config = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
        made: SQSClient = client("sqs", config)
        return made

    @cached_property
    def _sqs(self) -> SQSClient:
        config = Config(connect_timeout=1, read_timeout=10, retries={"total_max_attempts": 2})
        made: SQSClient = client("sqs", config)
        return made


def read(body: str) -> Notice:
    """A message's."""
    return Notice(**json.loads(body))
