"""The function that gets certificates and renews them, every few minutes."""

from typing import Any

from lambdas.certificates.renewing import Renewing
from lambdas.certificates.settings import AcmeSettings
from lambdas.certificates.zones import Zones
from lambdas.lookups.aliases import Aliases
from lambdas.repositories.tables import Tables

_END = 75.0  # seconds before the function's own end, for the step that is under way, and what is written then
_settings = AcmeSettings.read()
assert _settings is not None, "ACME_DIRECTORY says which authority is asked"
_renewing = Renewing(_settings, Tables.open(), Zones(), Aliases())


def handler(_: dict[str, Any], context: Any) -> None:
    """What is due, for as long as the function may run."""
    _renewing.run(context.get_remaining_time_in_millis() / 1000 - _END)
