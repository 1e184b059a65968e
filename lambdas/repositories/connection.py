"""PynamoDB's way to DynamoDB: one client for all models and transactions of the process.

By itself PynamoDB makes one for each model, and one for each transaction. To make one is to read botocore's description
of the service, which takes longer than most of what is asked for.
"""

from __future__ import annotations

import os
from functools import cache

from pynamodb.connection import Connection
from pynamodb.connection.table import TableConnection
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite


class Common:
    """What all tables have in common."""

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    connect_timeout_seconds = 1
    read_timeout_seconds = 2
    max_retry_attempts = 2


class Item(Model):
    """A model that goes by the client of all."""

    @classmethod
    def _get_connection(cls) -> TableConnection:
        table = super()._get_connection()
        table.connection._client = _connection().client  # there is no public way
        return table


def transaction() -> TransactWrite:
    """Writes that are done together once the ``with`` ends, or not at all: then TransactWriteError is raised."""
    return TransactWrite(connection=_connection())


@cache
def _connection() -> Connection:
    return Connection(
        region=Common.region,
        connect_timeout_seconds=Common.connect_timeout_seconds,
        read_timeout_seconds=Common.read_timeout_seconds,
        max_retry_attempts=Common.max_retry_attempts,
    )
