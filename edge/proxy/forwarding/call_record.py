"""What is reported of calls: that one was answered, before its 2xx goes on; that nobody took it; that it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from edge.proxy.forwarding.branch import Branch
from edge.proxy.forwarding.dialog_sides import sides
from edge.proxy.stack.answered_calls import leg_name
from edge.proxy.stack.events import TellOver
from edge.proxy.stack.flow_token import CallReference
from edge.proxy.stack.stack import Stack
from edge.sip.headers import storable, tag_of
from edge.sip.incoming import Incoming
from edge.sip.message import Response
from edge.sip.sdp import codecs
from edge.sip.session_bodies import descriptions
from lambdas.contract import CallAnswered, CallEnded, CallFailed, TriedLeg

_OVER = frozenset((404, 408, 410, 430, 480, 481))  # 430 is ours: there is no way to the phone any more
_MOST_LEGS = 16  # answers of one INVITE that are recorded; nobody has more phones
_SALT = 12  # characters of the edge's name for an INVITE
_LONGEST = 200  # characters of what others have written


class Parties(NamedTuple):
    """Who calls whom, as AORs or numbers, and the provider account that the call came by, or ""; all "" inside a
    dialog. ``asserted`` is who calls as the provider says, where ``caller`` mustn't say it. ``transferred_by`` is who
    has put the caller through."""

    caller: str = ""
    asserted: str = ""
    called: str = ""
    provider: str = ""
    transferred_by: str = ""


class CallRecord:
    """One INVITE that isn't in a dialog.

    Theory of operation. There is a record from the first decision on, which says who pays for the call. Nothing is
    reported before the call is answered or over, however many phones it rings. A 2xx waits until its report is in the
    journal, so that no answered call lacks a record, and each dialog that the INVITE makes (a fork may make several)
    has a report of its own, once. A refusal is reported when it goes back, and doesn't wait. Limits count the call from
    the decision on, and count it no more once either report, or that of the call's end, has arrived.
    """

    def __init__(
        self, stack: Stack, incoming: Incoming, attempt: str, tenant: str, parties: Parties, now: float
    ) -> None:
        """``attempt`` is this edge's own name for the INVITE: limits count by it, since the caller chooses the Call-ID,
        and may choose the same again. ``tenant`` pays for the call."""
        self._stack = stack
        self._incoming = incoming
        self._attempt = attempt
        self._tenant = tenant
        self._parties = parties
        self._invited = stack.wall(now)
        self._started = int(self._invited)
        self._salt = attempt[:_SALT] if stack.fleet.reads_tags else ""
        self._ringing: float | None = None
        self._counted: set[str] = set()
        self._safe: dict[str, bool] = {}  # leg -> whether its report is safe

    def count(self, accounts: Iterable[str]) -> None:
        """Whose calls this is one of, as a decision says."""
        self._counted.update(accounts)
        if self._counted:
            self._stack.call_counts.begin(self._attempt, self._counted, self._invited)

    def reference(self, to_caller: bool) -> CallReference:
        return CallReference(self._tenant, self._started, to_caller, salt=self._salt)

    def rings(self, now: float) -> None:
        if self._ringing is None:
            self._ringing = self._stack.wall(now)

    def answered(
        self,
        answer: Response,
        response: Response,
        branch: Branch,
        branches: Sequence[Branch],
        forward: Callable[[Response, float], None],
        now: float,
    ) -> None:
        """``forward`` the 2xx ``answer``, which came on ``branch`` as ``response``, once the call is in the journal."""
        name = leg_name(
            self._incoming.call_id,
            self._incoming.from_tag,
            tag_of(answer.get("to") or ""),
            self._salt if branch.salted else "",
        )
        safe = self._safe.get(name)
        if safe:
            forward(answer, now)  # a retransmission (RFC 3261 §13.3.1.4)
        elif safe is None and len(self._safe) >= _MOST_LEGS:
            self._stack.counters["excess_answers"] += 1
        elif safe is None:
            self._safe[name] = False
            self._stack.answered_calls.note(name, branch.flow)
            leg_out = branch.target.provider
            rate = leg_out.rate if leg_out is not None else 0.0
            self._stack.call_counts.answered(
                self._attempt, name, rate, branch.stage.max_duration, self._stack.wall(now)
            )

            def written(at: float) -> None:
                self._safe[name] = True
                forward(answer, at)

            self._stack.questions.journal(self._report(name, answer, response, branch, branches, now), written)

    def failed(
        self, status: int, reason: str, best: Branch | None, branches: Sequence[Branch], given_up: bool, now: float
    ) -> None:
        """Nobody has taken it. ``best`` is the branch whose answer goes back."""
        self._stack.call_counts.over(self._attempt, self._stack.wall(now))
        answer = best.response if best is not None else None
        self._stack.questions.journal(
            CallFailed(
                **self._outline(leg_name(self._attempt, "", ""), branches),
                ended=self._stack.wall(now),
                status=status,
                reason=storable(reason)[:_LONGEST],
                address=self._incoming.flow.address,
                provider=self._parties.provider,
                user_agent=storable(self._incoming.value("user-agent") or "")[:_LONGEST],
                by="caller" if given_up else "",
                account=best.target.account if best is not None else "",
                called_address=best.flow.address if best is not None else "",
                called_provider=best.provider if best is not None else "",
                called_agent=_agent(answer) if answer is not None else "",
            )
        )

    def _report(
        self, name: str, answer: Response, response: Response, branch: Branch, branches: Sequence[Branch], now: float
    ) -> CallAnswered:
        media, why = branch.media.way if branch.media is not None else ("", "")
        if media:
            self._stack.counters[f"calls_{media}"] += 1
        return CallAnswered(
            **self._outline(name, [branch, *(other for other in branches if other is not branch)]),
            answered=self._stack.wall(now),
            edges=(self._incoming.flow.address, branch.flow.address),
            account=branch.target.account,
            max_duration=branch.stage.max_duration,
            sides=sides(self._incoming, answer, branch, response),
            providers=(self._parties.provider, branch.provider),
            user_agents=(
                storable(self._incoming.value("user-agent") or "")[:_LONGEST],
                _agent(response),
            ),
            codecs=_codecs(response),
            media=media,
            media_why=why,
        )

    def _outline(self, call: str, branches: Sequence[Branch]) -> dict[str, Any]:
        """The fields of CallOutline."""
        return {
            "tenant": self._tenant,
            "call": call,
            "call_id": storable(self._incoming.call_id),
            "caller": self._parties.caller,
            "asserted": self._parties.asserted,
            "called": self._parties.called,
            "started": self._started,
            "invited": self._invited,
            "ringing": self._ringing,
            "legs": _legs(branches),
            "counted": sorted(self._counted),
            "attempt": self._attempt,
            "transferred_by": self._parties.transferred_by,
        }


def _codecs(response: Response) -> list[str]:
    kind, coding = response.get("content-type") or "", response.get("content-encoding") or ""
    return [codec for description in descriptions(response.body, kind, coding)[:1] for codec in codecs(description)]


def _agent(response: Response) -> str:
    return storable(response.get("user-agent") or response.get("server") or "")[:_LONGEST]


def _legs(branches: Sequence[Branch]) -> list[TriedLeg]:
    return [
        TriedLeg(
            to=storable(branch.wanted.aor or branch.wanted.uri),
            provider=branch.provider,
            address=branch.target.flow[0],
            status=branch.status,
            number=branch.wanted.provider.number if branch.wanted.provider is not None else "",
        )
        for branch in branches[:_MOST_LEGS]
    ]


def report_end(stack: Stack, incoming: Incoming, name: str, call: CallReference, status: int, now: float) -> None:
    """A BYE in the dialog ``name`` was answered with ``status``. Others than these leave the dialog as it was (RFC 5057
    §5.1)."""
    if not call.tenant or (status >= 300 and status not in _OVER):
        return
    stack.answered_calls.ended(name, now)
    if not stack.call_counts.leg_over(name, stack.wall(now)) and len(stack.fleet.addresses) > len(stack.fleet.epochs):
        stack.actions.append(TellOver(name))
    stack.questions.journal(
        CallEnded(
            tenant=call.tenant,
            call=name,
            started=call.started,
            ended=stack.wall(now),
            by="called" if call.to_caller else "caller",
            reason=storable(incoming.value("reason") or "")[:_LONGEST],
        )
    )
