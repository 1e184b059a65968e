"""The function that gets certificates and renews them, every few minutes."""

from typing import Any

from lambdas.certificates.renewing import Renewing

_END = 75.0  # seconds before the function's own end, for the step that is under way, and what is written then
_renewing = Renewing.make()


def handler(_: dict[str, Any], context: Any) -> None:
    """What is due, for as long as the function may run."""
    _renewing.run(context.get_remaining_time_in_millis() / 1000 - _END)
