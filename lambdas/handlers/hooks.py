"""The function that delivers to webhooks."""

from typing import Any

from lambdas.api.delivering import Delivery
from lambdas.api.services import Services

_delivery = Delivery(Services())


def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
    """A batch from the queue; those that aren't done with come again."""
    left = [
        one["messageId"]
        for one in event["Records"]
        if not _delivery.take(one["body"], one["receiptHandle"], int(one["attributes"]["ApproximateReceiveCount"]))
    ]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in left]}
