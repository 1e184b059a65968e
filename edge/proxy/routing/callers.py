"""Who calls: an account of ours, or somebody through a provider. What is asked for each, and what is done for each
where no answer comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from edge.proxy.forwarding.call_record import Parties
from edge.proxy.routing.kept_routes import as_called_by
from edge.proxy.stack.authentication import Presented
from edge.proxy.stack.gruu import Gruu
from edge.proxy.stack.questions import OnDecision
from edge.proxy.stack.sources import Slowed
from edge.proxy.stack.stack import Stack
from edge.sip.incoming import Incoming
from edge.sip.telephone import name_of
from lambdas.contract import (
    RELAYED_OF_ACCOUNT,
    RELAYED_OF_TENANT,
    CallQuestion,
    Decision,
    IncomingQuestion,
    MediaPolicy,
    Question,
    Reject,
    Route,
    RouteQuestion,
    Target,
    combined,
    stand_in,
)


def meant(gruu: Gruu | None) -> dict[str, str]:
    """The fields of a MeantInstance."""
    return {} if gruu is None else {"instance": gruu.instance, "registration": gruu.registration}


AUTO: MediaPolicy = "auto"


def stand_in_for(stack: Stack, whom: str, media: MediaPolicy, site: str) -> Target:
    """For the phones of ``whom`` (an AOR, or a phone's Contact or GRUU), called by somebody who wants ``media`` and
    whose phones are at ``site``."""
    called = stack.grants.known(whom)
    if called is None:
        return stand_in(whom).model_copy(update={"media": media})
    return stand_in(whom).model_copy(
        update={"media": combined(media, called.media), "one_site": called.site == site != ""}
    )


def route_in_the_dark(target: Target, payer: str, tenant: str) -> Route:
    """By nobody's decision, with the usual limits."""
    most = {payer: RELAYED_OF_ACCOUNT, tenant: RELAYED_OF_TENANT}
    return Route(targets=[target], tenant=tenant, relayed_calls=most)


class CallOrigin(Protocol):
    """``called`` is what decisions for such calls are kept under; ``contact`` is the URI that is called where that is
    no address of ours: a phone's own, perhaps; "" otherwise. ``known``: whoever it is has shown that."""

    parties: Parties
    called: str
    contact: str
    known: bool

    def ask(self, make: Callable[[str], Question], then: OnDecision, now: float) -> None:
        """Put the question that ``make(its name)`` gives."""

    def question(self, common: dict[str, Any], phone: Target | None) -> CallQuestion:
        """``common`` are the fields that all kinds of questions have; ``phone`` is the one that ``contact`` is of."""

    def owner(self, tenant: str) -> str:
        """Whose the kept decisions are; ``tenant`` as the decision says."""

    def known_owner(self, now: float) -> str:
        """The same, without a decision: "" if nothing may be done for this caller on one's own account."""

    def fitted(self, kept: Route) -> Route:
        """A decision that may have been made for another caller, with what holds for this one."""

    def otherwise(self, owner: str) -> Route | None:
        """What is done where no decision has been kept either."""

    def payers(self, owner: str) -> list[str]:
        """Who pays for a call, as limits name them."""


class AccountCaller:
    """An account of ours, by its credentials."""

    def __init__(
        self,
        stack: Stack,
        incoming: Incoming,
        parties: Parties,
        presented: Presented,
        withheld: bool,
        contact: str,
        gruu: Gruu | None,
    ) -> None:
        """``withheld``: those who are called mustn't know it. ``gruu`` is what was called, if that is one."""
        self.parties = parties
        self.contact = contact
        self.called = parties.called if gruu is None else gruu.uri
        self._gruu = gruu
        self.known = presented.grant is not None
        self._stack = stack
        self._incoming = incoming
        self._presented = presented
        self._withheld = withheld

    def ask(self, make: Callable[[str], Question], then: OnDecision, now: float) -> None:
        self._stack.ask_about(self._presented, self._incoming, make, then, now)

    def question(self, common: dict[str, Any], phone: Target | None) -> RouteQuestion:
        called, binding = (phone.aor, phone.binding) if phone is not None else (self.parties.called, "")
        return RouteQuestion(
            **common,
            caller=self.parties.caller,
            called=called,
            binding=binding,
            credentials=self._presented.credentials,
            withheld=self._withheld,
            **meant(self._gruu),
        )

    def owner(self, tenant: str) -> str:
        return tenant

    def known_owner(self, now: float) -> str:
        """The tenant of its grant, if the credentials are the account's own."""
        grant, caller = self._presented.grant, self.parties.caller
        mine = grant is not None and self._presented.account == caller and self._stack.grants.holds(caller, grant)
        return grant.tenant if grant is not None and mine else ""

    def fitted(self, kept: Route) -> Route:
        grant = self._presented.grant
        return as_called_by(kept, self.parties.caller, grant.media, grant.site) if grant is not None else kept

    def otherwise(self, owner: str) -> Route | None:
        """Known accounts call each other all the same."""
        whom, grant = self.contact or self.called, self._presented.grant
        media, site = (grant.media, grant.site) if grant is not None else (AUTO, "")
        return route_in_the_dark(stand_in_for(self._stack, whom, media, site), self.parties.caller, owner)

    def payers(self, owner: str) -> list[str]:
        return [self.parties.caller, owner]


class ProviderCaller:
    """Somebody who calls the Contact of a provider account, or a number that it has."""

    def __init__(
        self, stack: Stack, incoming: Incoming, parties: Parties, number: str = "", places: Sequence[str] = ()
    ) -> None:
        """``number``: what was called instead of the Contact, "" if that was; ``places`` are the hosts of trunks that
        may have called it."""
        self.parties = parties
        self.called = name_of(incoming.uri if number else incoming.to_uri())
        self.contact = ""
        self.known = True
        self._stack = stack
        self._number = number
        self._places = list(places)

    def ask(self, make: Callable[[str], Question], then: OnDecision, now: float) -> None:
        self._stack.questions.ask(make, then, now)

    def question(self, common: dict[str, Any], phone: Target | None) -> IncomingQuestion:
        parties = self.parties
        return IncomingQuestion(
            **common,
            provider=parties.provider,
            caller=parties.caller,
            dialled=self.called,
            number=self._number,
            places=self._places,
        )

    def owner(self, tenant: str) -> str:
        return self.parties.provider

    def known_owner(self, now: float) -> str:
        return self.parties.provider

    def fitted(self, kept: Route) -> Route:
        """Decisions of one provider account's calls are for all of them."""
        return kept

    def otherwise(self, owner: str) -> Route | None:
        """Whom such calls are for only the control plane knows."""
        return None

    def payers(self, owner: str) -> list[str]:
        """The tenant, whose id its provider accounts' begin with."""
        return [owner.partition("/")[0]]


class TrunkCaller(ProviderCaller):
    """Somebody who calls a number from where a provider is that knows us by our address. Whose number it is only a
    decision says."""

    def __init__(self, stack: Stack, incoming: Incoming, parties: Parties, number: str, places: Sequence[str]) -> None:
        super().__init__(stack, incoming, parties, number, places)
        self._flow = incoming.flow
        self.known = stack.trunk_numbers.knows(places, number)

    def charge(self, now: float) -> None:
        """Who forges a provider's address, and guesses numbers, has no more questions than other strangers. Raises
        Slowed."""
        if self.known:
            return
        if not self._stack.sources.take_question(self._flow.host, self._flow.reliable, now):
            raise Slowed

    def ask(self, make: Callable[[str], Question], then: OnDecision, now: float) -> None:
        stack = self._stack

        def decided(decision: Decision | None, at: float) -> None:
            if not self.known and (isinstance(decision, Route) or (isinstance(decision, Reject) and decision.tenant)):
                self.known = True
                stack.sources.give_back(self._flow.host)
                stack.trunk_numbers.note(self._places, self._number)
            elif not self.known and decision is not None:
                stack.counters["unknown_numbers"] += 1
            then(decision, at)

        stack.questions.ask(make, decided, now, known=self.known)

    def owner(self, tenant: str) -> str:
        return self.known_owner(0.0)

    def known_owner(self, now: float) -> str:
        return f"trunk:{','.join(self._places)}"

    def payers(self, owner: str) -> list[str]:
        """Nobody knows without a decision."""
        return []
