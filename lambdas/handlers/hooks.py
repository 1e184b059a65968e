"""The function that delivers to webhooks."""

from typing import Any

from lambdas.hooks.delivering import Delivery
from lambdas.lookups.lookups import Lookups
from lambdas.repositories.tables import Tables

_delivery = Delivery(Tables.open(), Lookups())


def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
    """A batch from the queue; those that aren't done with come again."""
    records = event["Records"]
    done = _delivery.take_all(
        (one["body"], one["receiptHandle"], int(one["attributes"]["ApproximateReceiveCount"])) for one in records
    )
    left = [one["messageId"] for one, is_done in zip(records, done, strict=True) if not is_done]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in left]}
