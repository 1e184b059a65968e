"""Who calls: an account of ours, or somebody through a provider. What is asked for each, and what is done for each
where no answer comes."""

from __future__ import annotations

from typing import Any, Protocol

from edge.proxy.forwarding.call_record import Parties
from edge.proxy.location.grants import Grants
from edge.sip.incoming import Incoming
from lambdas.contract import Credentials, IncomingQuestion, Route, RouteQuestion, stand_in


class CallOrigin(Protocol):
    """``called`` is what decisions for such calls are kept under."""

    parties: Parties
    called: str

    def question(self, common: dict[str, Any]) -> RouteQuestion | IncomingQuestion:
        """``common`` are the fields that both kinds of questions have."""

    def owner(self, tenant: str) -> str:
        """Whose the kept decisions are; ``tenant`` as the decision says."""

    def known_owner(self, now: float) -> str:
        """The same, without a decision: "" if nothing may be done for this caller on one's own account."""

    def otherwise(self, owner: str) -> Route | None:
        """What is done where no decision has been kept either."""


class AccountCaller:
    """An account of ours, by its credentials."""

    def __init__(self, incoming: Incoming, parties: Parties, credentials: Credentials, grants: Grants) -> None:
        self.parties = parties
        self.called = parties.called
        self._incoming = incoming
        self._credentials = credentials
        self._grants = grants

    def question(self, common: dict[str, Any]) -> RouteQuestion:
        parties = self.parties
        return RouteQuestion(**common, caller=parties.caller, called=parties.called, credentials=self._credentials)

    def owner(self, tenant: str) -> str:
        return tenant

    def known_owner(self, now: float) -> str:
        """The tenant of its grant, if the credentials are the account's own."""
        grant = self._grants.get(self.parties.caller, self._credentials, self._incoming.request.method, now)
        return grant.tenant if grant is not None else ""

    def otherwise(self, owner: str) -> Route | None:
        """Known accounts call each other all the same."""
        return Route(targets=[stand_in(self.called)], tenant=owner)


class ProviderCaller:
    """Somebody who calls a number that a provider account has."""

    def __init__(self, incoming: Incoming, parties: Parties) -> None:
        self.parties = parties
        self.called = incoming.to_uri().user

    def question(self, common: dict[str, Any]) -> IncomingQuestion:
        parties = self.parties
        return IncomingQuestion(**common, provider=parties.provider, caller=parties.caller, dialled=self.called)

    def owner(self, tenant: str) -> str:
        return self.parties.provider

    def known_owner(self, now: float) -> str:
        return self.parties.provider

    def otherwise(self, owner: str) -> Route | None:
        """Whom such calls are for only the control plane knows."""
        return None
