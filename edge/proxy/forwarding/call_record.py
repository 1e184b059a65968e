"""What is reported of calls: that one was answered, before its 2xx goes on; that nobody took it; that it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from edge.media.orders import SideQuality
from edge.proxy.forwarding.branch import Branch
from edge.proxy.forwarding.dialog_sides import sides
from edge.proxy.forwarding.record_route import DialogTarget, call_of, dialog_of
from edge.proxy.forwarding.session_timer import interval_of
from edge.proxy.stack.answered_calls import leg_name
from edge.proxy.stack.events import TellOver
from edge.proxy.stack.flow_token import CallReference
from edge.proxy.stack.stack import Stack
from edge.sip.headers import storable, tag_of
from edge.sip.incoming import Incoming
from edge.sip.message import Response
from edge.sip.sdp import codecs
from edge.sip.session_bodies import descriptions
from lambdas.contract import CallAnswered, CallEnded, CallFailed, CallName, MediaQuality, TriedLeg

_OVER = frozenset((404, 408, 410, 430, 480, 481))  # 430 is ours: there is no way to the phone any more
_MOST_LEGS = 16  # answers of one INVITE that are recorded; nobody has more phones
_SALT = 12  # characters of the edge's name for an INVITE
_SIDES: tuple[Literal["caller", "called"], ...] = ("caller", "called")
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
            self._expect_refreshes(name, answer, now)
            leg_out = branch.target.provider
            rate = leg_out.rate if leg_out is not None else 0.0
            self._stack.call_counts.answered(
                self._attempt, name, rate, branch.stage.max_duration, self._stack.wall(now)
            )

            def written(at: float) -> None:
                self._safe[name] = True
                forward(answer, at)

            self._stack.questions.journal(self._report(name, answer, response, branch, branches, now), written)

    def _expect_refreshes(self, name: str, answer: Response, now: float) -> None:
        seconds = interval_of(answer)
        if seconds and self._stack.fleet.tells_refreshes:
            call = CallName(tenant=self._tenant, call=name, started=self._started)
            self._stack.session_timers.note(call, seconds, now)

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


def is_over(status: int) -> bool:
    """Whether a call is, whose BYE was answered so. Other answers leave the dialog as it was (RFC 5057 §5.1)."""
    return status < 300 or status in _OVER


class CallEnd:
    """An answered call that has ended: a BYE in it, ``incoming``, which led to ``target``, was answered. It counts no
    more from now on; its report may wait for what is known of its media."""

    def __init__(self, stack: Stack, incoming: Incoming, target: DialogTarget, now: float) -> None:
        self._stack = stack
        self._call = call_of(target)
        self._name = dialog_of(incoming, target, stack.fleet)[1]
        self._reason = storable(incoming.value("reason") or "")[:_LONGEST]
        self._ended = stack.wall(now)
        if not self._call.tenant:
            return
        stack.answered_calls.ended(self._name, now)
        stack.session_timers.forget(self._name)
        if not stack.call_counts.leg_over(self._name, self._ended) and not stack.alone:
            stack.actions.append(TellOver(self._name))

    def report(self, quality: tuple[SideQuality, ...], now: float) -> None:
        """``quality`` is that of the BYE's sender and of the other side, if it is known."""
        if self._call.tenant:
            self._stack.questions.journal(
                CallEnded(
                    tenant=self._call.tenant,
                    call=self._name,
                    started=self._call.started,
                    ended=self._ended,
                    by="called" if self._call.to_caller else "caller",
                    reason=self._reason,
                    quality=quality_of(quality, called_first=self._call.to_caller),
                )
            )


def quality_of(heard: tuple[SideQuality, ...], called_first: bool) -> list[MediaQuality]:
    """What is ``heard`` of both sides, the called one first or last, as it is reported."""
    sides = _SIDES[::-1] if called_first else _SIDES
    return [
        MediaQuality(side=side, packets=one.packets, longest_gap=one.gap, lost=one.lost, jitter=one.jitter, mos=one.mos)
        for side, one in zip(sides, heard, strict=False)
    ]
