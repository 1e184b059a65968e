"""The function that wakes phones."""

from typing import Any

from lambdas.push.sending import Sending
from lambdas.repositories.tables import Tables

_sending = Sending(Tables.open())


def handler(event: dict[str, Any], _: object) -> None:
    """A batch from the queue."""
    _sending.take_all(one["body"] for one in event["Records"])
