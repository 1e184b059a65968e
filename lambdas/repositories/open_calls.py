"""What ending a call takes: an item in the table of calls as long as the call lasts, beside its records."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Any, cast

from botocore.exceptions import ClientError
from pydantic import TypeAdapter
from pynamodb.exceptions import DeleteError
from pynamodb.expressions.update import Action

from lambdas.contract import CallAnswered, CallName, OpenCall, Side
from lambdas.repositories.call_keys import OPEN, CallKey, attempt_of, key_of
from lambdas.repositories.call_models import CallItem
from lambdas.repositories.connection import dynamodb
from lambdas.repositories.transactions import conditional

_NO_MORE_IS_DUE = "attribute_not_exists(joined) AND (attribute_not_exists(counted) OR size(counted) = :none)"
_LONGEST = 7 * 86_400  # seconds: for so long a dialog's tokens are good
_SIDES = TypeAdapter(list[Side])
SUSPENDED = "suspended"
"""Why a call ends whose account or tenant is."""


def parties(report: CallAnswered) -> list[str]:
    """Those who take part in a call: it ends when one that is an account here is suspended."""
    called = report.legs[0].to if report.legs else ""
    return sorted({report.caller, report.account or report.transferred_by, called} - {""})


class OpenCalls:
    """Calls that nobody has seen end, and that can be ended, or are counted by somebody."""

    def put(self, report: CallAnswered) -> None:
        """It ends at its longest duration, or is forgotten when its dialog's tokens are good no more."""
        deadline = math.ceil(report.answered) + (report.max_duration or _LONGEST)
        CallItem(
            *key_of(report, OPEN),
            call=report.call,
            started=report.started,
            tenant=report.tenant,
            address=report.edges[0] if report.sides else None,  # without it nobody can end the call
            call_id=report.call_id,
            attempt=attempt_of(report),
            counted=report.counted,
            parties=parties(report),
            deadline=deadline,
            why="max_call_seconds" if report.max_duration else None,
            sides=_SIDES.dump_json(report.sides).decode(),
            ttl=int(report.answered) + _LONGEST,
        ).save()

    def get(self, call: CallName) -> CallItem | None:
        try:
            return CallItem.get(*key_of(call, OPEN), consistent_read=True)
        except CallItem.DoesNotExist:
            return None

    def join(self, left: CallName, on: CallName, at: float, sides: list[Side]) -> bool:
        """``left`` goes on as ``on`` since ``at``, and so does what has gone on as ``left`` before: whichever of them
        is to be ended, it is ``on`` that is hung up, by its new ``sides`` if it has any. Whether they are open."""
        one, other = self.get(left), self.get(on)
        if one is None or other is None:
            return False
        before = [[one.pk, one.sk], *(one.joined or ())]
        keys = [*before, [other.pk, other.sk]]
        present = _SIDES.dump_json(sides).decode() if sides else other.sides
        for key in before:
            actions: list[Action] = [
                CallItem.joined.set([one for one in keys if one != key]),
                CallItem.left.set(at),
                CallItem.sides.set(present),
            ]
            if other.address:
                actions.append(CallItem.address.set(other.address))
            self._change((key[0], key[1]), actions)
        joined = [*before, *(other.joined or ())]
        return self._change((other.pk, other.sk), [CallItem.joined.set(joined), CallItem.sides.set(present)])

    def _change(self, key: CallKey, actions: list[Action]) -> bool:
        """Whether it is still open."""
        return conditional(lambda: CallItem(*key).update(actions, condition=CallItem.pk.exists()))

    def joined(self, item: CallItem) -> list[CallName]:
        """The calls that end with one that was open, as far as they are."""
        found: list[CallName] = []
        for pk, sk in item.joined or ():
            with contextlib.suppress(CallItem.DoesNotExist):
                one = CallItem.get(pk, sk, consistent_read=True)
                found.append(CallName(tenant=one.tenant, call=one.call, started=int(one.started)))
        return found

    def remove(self, call: CallName) -> None:
        """Nobody needs to end it any more."""
        item = CallItem(*key_of(call, OPEN))
        with contextlib.suppress(DeleteError):  # it is cleaned up some day, and ending it twice hurts nobody
            item.delete()

    def remove_unless_more_is_due(self, call: CallName) -> CallItem | None:
        """Where somebody counts the call, or others end with it, it stays until that is done, and is given back: what
        stops half-way can be done again."""
        pk, sk = key_of(call, OPEN)
        request = {
            "TableName": CallItem.Meta.table_name,
            "Key": {"pk": {"S": pk}, "sk": {"S": sk}},
            "ConditionExpression": _NO_MORE_IS_DUE,
            "ExpressionAttributeValues": {":none": {"N": "0"}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            dynamodb().call("DeleteItem", request)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return CallItem.from_raw_data(cast(Any, error.response)["Item"])
        return None

    def overdue(self, address: str, now: float, limit: int) -> list[OpenCall]:
        """Calls whose callers are at ``address``, and that should be over."""
        found = CallItem.open_calls.query(address, CallItem.deadline <= int(now), limit=limit)
        return [
            OpenCall(
                address=address,
                tenant=item.tenant,
                call=item.call,
                started=int(item.started),
                sides=_SIDES.validate_json(item.sides),
                why=item.why or "",
            )
            for item in found
        ]

    def end(self, key: CallKey, deadline: float, why: str) -> None:
        """Have a call end then, if it is still open. ``why`` is for people."""
        self._change(key, [CallItem.deadline.set(math.ceil(deadline)), CallItem.why.set(why)])

    def hang_up(self, addresses: Iterable[str], tenant: str, party: str, now: float) -> int:
        """Have the open calls of a tenant, or (``party``) of one of its accounts, end at once; how many there are."""
        found = [
            item
            for address in addresses
            for item in CallItem.open_calls.query(address)
            if item.tenant == tenant and (not party or party in (item.parties or ()))
        ]
        for item in found:
            self.end((item.pk, item.sk), now, SUSPENDED)
        return len(found)
