"""Writing on a condition, and several items together, all or none."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from pynamodb.exceptions import DeleteError, PutError, TransactWriteError, UpdateError
from pynamodb.transactions import TransactWrite

from lambdas.repositories.connection import transaction

Write = Callable[[TransactWrite], None]

_LOCKS = 64
_PATIENCE = 1.5  # seconds
_PAUSE, _LONGEST_PAUSE = 0.02, 0.3  # seconds at most: the first time, and ever
_IN_THE_WAY = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


class Busy(Exception):
    """Too many are at it at once; nothing was written."""


class Turns:
    """Has those in this process who write the same thing do it one after the other. Else they would meet at the table,
    and all but one of them begin anew; those in other processes still may."""

    def __init__(self) -> None:
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def of(self, name: str) -> threading.Lock:
        """To be held while it is written."""
        return self._locks[hash(name) % _LOCKS]


def conditional(write: Callable[[], object]) -> bool:
    """Do a ``write`` of one item that has a condition; False if that doesn't hold."""
    try:
        write()
    except (PutError, UpdateError, DeleteError) as error:
        if error.cause_response_code != "ConditionalCheckFailedException":
            raise
        return False
    return True


def transact(write: Write) -> bool:
    """Do what ``write`` adds to a transaction, again while others are in its way. False if a condition of it doesn't
    hold. Raises Busy."""
    end = time.monotonic() + _PATIENCE
    tries = 0
    while True:
        try:
            with transaction() as together:
                write(together)
            return True
        except TransactWriteError as error:
            if error.cause_response_code != "TransactionCanceledException":
                raise
            reasons = reasons_of(error)
            if "ConditionalCheckFailed" in reasons or not reasons & _IN_THE_WAY:
                return False
            if time.monotonic() > end:
                raise Busy from error
        pause(tries)
        tries += 1


def reasons_of(error: TransactWriteError) -> set[str]:
    """Why a transaction was cancelled."""
    return {reason.code for reason in error.cancellation_reasons if reason is not None}


def pause(tries: int) -> None:
    """Before trying again, longer each time, so that those who met don't meet again."""
    time.sleep(random.uniform(0.0, min(_PAUSE * 2**tries, _LONGEST_PAUSE)))  # noqa: S311
