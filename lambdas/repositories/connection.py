"""PynamoDB's way to DynamoDB: one client, of our own, for all models and transactions of the process."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, cast

from pynamodb.connection import Connection
from pynamodb.connection.table import TableConnection
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from lambdas.repositories.dynamodb import DynamoDB


class Common:
    """What all tables have in common."""

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


class Item(Model):
    """A model that goes by the client of all."""

    @classmethod
    def _get_connection(cls) -> TableConnection:
        table = super()._get_connection()
        table.connection._client = cast(Any, dynamodb())  # there is no public way
        return table


def transaction() -> TransactWrite:
    """Writes that are done together once the ``with`` ends, or not at all: then TransactWriteError is raised."""
    return TransactWrite(connection=_connection())


@cache
def dynamodb() -> DynamoDB:
    """The client of all tables but that of leases."""
    return DynamoDB(Common.region)


@cache
def _connection() -> Connection:
    made = Connection(Common.region)
    made._client = cast(Any, dynamodb())
    return made
