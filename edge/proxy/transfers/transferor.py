"""Who puts a call through: an account of ours, whose own call to whomever it names that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge.proxy.forwarding.call_record import Parties
from edge.proxy.routing.callers import AUTO, meant, route_in_the_dark, stand_in_for
from edge.proxy.routing.kept_routes import as_called_by
from edge.proxy.stack.authentication import Presented
from edge.proxy.stack.questions import OnDecision
from edge.proxy.stack.stack import Stack
from edge.proxy.transfers.border_call import BorderCall
from edge.proxy.transfers.referral import Referral
from lambdas.contract import Challenge, Decision, Question, Reject, Route, Target, TransferQuestion

_UNKNOWN = Reject(status=403, reason="Forbidden: register this phone before it transfers calls")


class Transferor:
    """Fulfils CallOrigin."""

    def __init__(
        self, stack: Stack, call: BorderCall, referral: Referral, aor: str, presented: Presented | None, caller: str
    ) -> None:
        """``aor`` is the account, as far as it is known here; ``presented`` what it has shown, None where its flow says
        who it is. ``caller`` is who is put through."""
        self.parties = Parties(caller, called=referral.called, provider=call.way.provider, transferred_by=aor)
        self.called = referral.called if referral.gruu is None else referral.gruu.uri
        self.contact = referral.contact
        self.known = True
        self._stack = stack
        self._call = call
        self._referral = referral
        self._presented = presented

    def ask(self, make: Callable[[str], Question], then: OnDecision, now: float) -> None:
        def decided(decision: Decision | None, at: float) -> None:
            # He has had his answer to the REFER: he can't be asked any more.
            then(_UNKNOWN if isinstance(decision, Challenge) else decision, at)

        if self._presented is not None:
            self._stack.ask_about(self._presented, self._call.incoming, make, decided, now)
        else:
            self._stack.questions.ask(make, decided, now)

    def question(self, common: dict[str, Any], phone: Target | None) -> TransferQuestion:
        refer, presented = self._call.incoming, self._presented
        return TransferQuestion(
            **{**common, "flow": refer.flow.wire},
            caller=self.parties.caller,
            called=phone.aor if phone is not None else self.parties.called,
            replaces=bool(self._referral.replaces),
            credentials=presented.credentials if presented is not None else None,
            call=self._call.name,
            way=self._call.way.sealed,
            way_call_id=refer.call_id,
            way_tag=refer.to_tag,
            **meant(self._referral.gruu),
        )

    def owner(self, tenant: str) -> str:
        return tenant

    def known_owner(self, now: float) -> str:
        grant = self._stack.grants.known(self.parties.transferred_by)
        return grant.tenant if grant is not None and grant.tenant == self._call.way.tenant else ""

    def fitted(self, kept: Route) -> Route:
        """Who is put through is outside, at no site."""
        return as_called_by(kept, self.parties.transferred_by, AUTO, "")

    def otherwise(self, owner: str) -> Route | None:
        """Known accounts call each other all the same."""
        gruu = self._referral.gruu
        whom = gruu.uri if gruu is not None else self.contact or self.called
        return route_in_the_dark(stand_in_for(self._stack, whom, AUTO, ""), self.parties.transferred_by, owner)

    def payers(self, owner: str) -> list[str]:
        return [self.parties.transferred_by, owner]
