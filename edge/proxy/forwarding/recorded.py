"""What of a response context is put on record: a call that somebody took or nobody, and its end."""

from __future__ import annotations

from edge.providers.leg import phone_call_id
from edge.providers.leg_token import ToPhone, ToProvider
from edge.proxy.forwarding.best_response import best_of
from edge.proxy.forwarding.branch import Branch
from edge.proxy.forwarding.call_record import CallRecord, ended
from edge.proxy.forwarding.surroundings import Surroundings
from edge.proxy.stack.flow_token import Destination


class Recorded(Surroundings):
    """``attempt`` is this edge's own name for an INVITE that begins a call. Limits count by it: the caller chooses the
    Call-ID, and may choose the same again."""

    attempt: str
    caller: str
    called: str
    _branches: list[Branch]
    _destination: Destination | ToProvider | ToPhone | None
    _from_provider: ToProvider | None
    _given_up: bool

    def _recorded_for(self, tenant: str, now: float) -> None:
        if self.invite and tenant and self._record is None:
            provider = self._from_provider.provider if self._from_provider is not None else ""
            self._record = CallRecord(
                self.core, self.incoming, self.attempt, tenant, self.caller, self.called, provider, now
            )

    def _note_failure(self, status: int, reason: str, now: float) -> None:
        """The call ends with ``status``."""
        if self._record is not None:
            over = [branch for branch in self._branches if branch.response is not None]
            best = best_of(over) if over else None
            self._record.failed(status, reason, best, self._branches, self._given_up, now)

    def note_end(self, status: int, now: float) -> None:
        """The request was answered: if it is a BYE, its call is over."""
        if self.incoming.request.method == "BYE":
            call_id = self.incoming.call_id
            if isinstance(self._destination, ToPhone):
                call_id = phone_call_id(call_id, self._destination, self.core.fleet_now.tokens)
            ended(self.core, self.incoming, call_id, self._call, status, now)
