"""What all commands share: the API and how to say things, set by the options before a command's name."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from lambdas.cli.client import Client
from lambdas.cli.shown import Output


class State:
    api: str | None
    key: str | None
    tenant: str | None
    output: Output

    @cached_property
    def client(self) -> Client:
        """Found by the first command that needs it. Raises ApiError."""
        return Client.found(self.api, self.key, self.tenant)

    def owned(self, path: str, **query: Any) -> Any:
        """Every item of a list that is a tenant's."""
        return self.client.pages(path, tenant=self.client.tenant, **query)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """About a thing that is a tenant's and whose path doesn't say whose."""
        return self.client.call(method, path, body, tenant=self.client.tenant)

    def make(self, path: str, **body: Any) -> None:
        """A thing of the tenant's, of what is given (None isn't), and show it."""
        self.output.one(self.client.call("POST", path, given(tenant=self.client.tenant, **body)))


def given(**body: Any) -> dict[str, Any]:
    """Without what was left out."""
    return {name: value for name, value in body.items() if value is not None}


state = State()
