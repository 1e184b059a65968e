"""What all commands share: the API and how to say things, set by the options before a command's name."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from lambdas.cli.client import Client
from lambdas.cli.shown import Output


class CommandState:
    """``output`` says what a command has to say."""

    def __init__(self) -> None:
        self._api: str | None = None
        self._key: str | None = None
        self._tenant: str | None = None
        self.output = Output(False)

    def take(self, api: str | None, key: str | None, tenant: str | None, as_json: bool) -> None:
        """The options of this run."""
        self._api, self._key, self._tenant = api, key, tenant
        self.output = Output(as_json)

    @cached_property
    def client(self) -> Client:
        """Found by the first command that needs it. Raises ApiError."""
        return Client.found(self._api, self._key, self._tenant)

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


state = CommandState()
