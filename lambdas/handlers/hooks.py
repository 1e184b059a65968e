"""The function that delivers to webhooks."""

from typing import Any

from lambdas.api.delivering import Delivery
from lambdas.api.services import Services

_delivery = Delivery(Services())


def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
    """A batch from the queue; those that aren't done with come again."""
    records = event["Records"]
    done = _delivery.take_all(
        (one["body"], one["receiptHandle"], int(one["attributes"]["ApproximateReceiveCount"])) for one in records
    )
    left = [one["messageId"] for one, is_done in zip(records, done, strict=True) if not is_done]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in left]}
