"""What all commands share: the API and how to say things, set by the options before a command's name."""

from __future__ import annotations

from typing import Any

from lambdas.cli.client import Client
from lambdas.cli.shown import Output


class State:
    client: Client
    output: Output

    def owned(self, path: str, **query: Any) -> Any:
        """Every item of a list that is a tenant's."""
        return self.client.pages(path, tenant=self.client.tenant, **query)


state = State()
