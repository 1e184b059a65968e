"""The response context of RFC 3261 §16: one request, the branches it was forwarded on, and the one best answer.

Theory of operation. A context is in the middle of one thing at a time, and that has a name (``ContextState``); what may
follow is in one table, as for the transactions beside it. It begins by waiting for a decision, or, inside a dialog,
with a target at once. Then the targets of a stage are tried, and either

- somebody takes it: the 2xx is *taken* when it comes, all others are cancelled, and it is *accepted* when it goes back,
  which for a call is once its record is safe. 2xx of other branches follow it (§16.7 step 5);
- everybody fails: the next stage is tried, the question is put again, or the best response goes back (step 6); where a
  phone has redirected the call, it is asked whether it goes there (step 4);
- the caller gives up (§16.10), somebody declines for everybody (6xx), or the stage's time runs out: branches are
  cancelled, and what they say last is still waited for. Phones answer 487 to that; whoever answers 200 all the same has
  taken the call.

Who is tried next is the target set's to say (``target_set.py``), and each branch sees to its own timers and to how its
request is sent (``branch.py``). The context alone answers the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Literal, Protocol

from edge.providers.leg_token import LegToPhone, LegToProvider
from edge.proxy.forwarding import session_timer
from edge.proxy.forwarding.best_response import best_branch, best_response, counts
from edge.proxy.forwarding.branch import Branch
from edge.proxy.forwarding.breadth import breadth_of
from edge.proxy.forwarding.call_record import CallEnd, CallRecord, Parties, is_over
from edge.proxy.forwarding.deflection import FOLLOWED, Deflection, redirected_to
from edge.proxy.forwarding.early_media import ringing
from edge.proxy.forwarding.media_gate import MediaGate, OnQuality, nothing_heard
from edge.proxy.forwarding.other_flows import OtherFlows
from edge.proxy.forwarding.provider_branch import BranchMaker
from edge.proxy.forwarding.record_route import DialogTarget, call_of
from edge.proxy.forwarding.target_set import TargetSet, by_instance, instead
from edge.proxy.stack.answers import Upstream, refuse, reject, respond, unavailable
from edge.proxy.stack.flow_token import CallReference
from edge.proxy.stack.questions import OnDecision
from edge.proxy.stack.stack import Stack
from edge.sip.headers import tag_of
from edge.sip.incoming import Incoming
from edge.sip.message import Response
from lambdas.contract import Challenge, Decision, Proceed, Reject, Route, Stage, Target

GIVE_UP = 20.0
"""Seconds after which a non-INVITE request is answered 480. Its sender stops waiting at 32 s, and a 408 may not be
sent then (RFC 4320 §4.2)."""

_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'  # so that phones don't show a call as missed
_LAST_WORD = 2.0  # seconds for those that were cancelled to say so, before the caller hears that nobody answers


class ContextState(Enum):
    DECIDING = "deciding"
    """A question is under way, and nobody is tried."""
    TRYING = "trying"
    DECLINED = "declined"
    """Somebody said no for everybody; the others are being cancelled."""
    LAST_WORD = "last word"
    """The stage's time is over; who was rung may have answered just now."""
    GIVEN_UP = "given up"
    """By the caller; the branches are being cancelled."""
    TAKEN = "taken"
    """Somebody has answered; that goes on once it is on record."""
    ACCEPTED = "accepted"
    """A 2xx has gone back."""
    REFUSED = "refused"
    """Another final response has gone back."""


ContextEvent = Literal["try", "ask", "decline", "time out", "give up", "take", "accept", "refuse"]

_TRANSITIONS: Mapping[ContextState, Mapping[ContextEvent, ContextState]] = {
    ContextState.DECIDING: {
        "try": ContextState.TRYING,
        "ask": ContextState.DECIDING,  # nobody was to be tried
        "accept": ContextState.ACCEPTED,  # nobody need be tried
        "give up": ContextState.GIVEN_UP,
        "take": ContextState.TAKEN,  # somebody of an earlier stage, late
        "refuse": ContextState.REFUSED,
    },
    ContextState.TRYING: {
        "try": ContextState.TRYING,  # the next stage
        "ask": ContextState.DECIDING,
        "decline": ContextState.DECLINED,
        "time out": ContextState.LAST_WORD,
        "give up": ContextState.GIVEN_UP,
        "take": ContextState.TAKEN,
        "refuse": ContextState.REFUSED,
    },
    ContextState.DECLINED: {
        "try": ContextState.TRYING,  # a plan may go on after a 6xx
        "ask": ContextState.DECIDING,
        "time out": ContextState.LAST_WORD,
        "give up": ContextState.GIVEN_UP,
        "take": ContextState.TAKEN,
        "refuse": ContextState.REFUSED,
    },
    ContextState.LAST_WORD: {
        "try": ContextState.TRYING,
        "ask": ContextState.DECIDING,
        "give up": ContextState.GIVEN_UP,
        "take": ContextState.TAKEN,
        "refuse": ContextState.REFUSED,
    },
    ContextState.GIVEN_UP: {"take": ContextState.TAKEN, "refuse": ContextState.REFUSED},
    ContextState.TAKEN: {
        "accept": ContextState.ACCEPTED,
        "refuse": ContextState.REFUSED,  # its media can't be relayed any more
    },
    ContextState.ACCEPTED: {},
    ContextState.REFUSED: {},
}
_CANCELLING = frozenset((ContextState.DECLINED, ContextState.GIVEN_UP, ContextState.TAKEN, ContextState.ACCEPTED))
_OVER = frozenset((ContextState.ACCEPTED, ContextState.REFUSED))


class Decider(Protocol):
    """Who is asked whom to try."""

    def ask(self, context: ResponseContext, again: str, outcomes: list[int], now: float) -> None:
        """Put the question once more, with what the decision says (``again``) and the outcomes so far; the answer comes
        to ``context.on_decision``."""

    def redirect(
        self, context: ResponseContext, deflection: Deflection, outcomes: list[int], then: OnDecision, now: float
    ) -> None:
        """Ask where the call goes that a phone has redirected."""


class ResponseContext:
    """From the request's arrival to its last response. ``timers`` is read by the TimerHeap."""

    def __init__(
        self,
        stack: Stack,
        branches: BranchMaker,
        incoming: Incoming,
        upstream: Upstream,
        parties: Parties = Parties(),  # noqa: B008 - immutable
        decider: Decider | None = None,
        destination: DialogTarget | None = None,
        outcome: int = 0,
        reports: bool = True,
        origin: CallReference = CallReference(),  # noqa: B008 - immutable
        from_provider: LegToProvider | None = None,
        media: MediaGate | None = None,
        heard: OnQuality = nothing_heard,
    ) -> None:
        """Raises Fault for a request that may have no branches (RFC 5393 §5.3.3).

        ``decider`` says who is tried, or inside a dialog ``destination``, which a token has said. ``outcome``: as
        for TargetSet. ``reports``: the end of a call is reported if this is its BYE. ``origin``: the call that it is a
        part of, which is recorded there. ``from_provider`` leads back to the provider that the call came from, which it
        can do from the start if that isn't where the request came from. ``media``: as a BranchContext has it.
        ``heard`` gets what is known of a call's media whose end others report."""
        self._stack = stack
        self._maker = branches
        self.incoming = incoming
        self._upstream = upstream
        self._parties = parties
        self.caller = parties.caller
        self._decider = decider
        self._destination = destination
        self._reports = reports
        self.media = media
        self._heard = heard
        self.invite = incoming.request.method == "INVITE"
        self.attempt = stack.ids.token() if self.invite and not incoming.to_tag else ""
        self.timers: dict[str, int] = {}
        self.why = ""
        self._state = ContextState.DECIDING
        self._targets = TargetSet(outcome)
        self._branches: list[Branch] = []
        self._breadth = breadth_of(incoming)
        self._stage_from = 0  # the first of the present stage's branches
        self._rings = False  # whether somebody of the present stage does
        self._other_flows: OtherFlows | None = None  # inside a dialog, once the flow of its token is dead
        if from_provider is None and parties.provider:
            from_provider = LegToProvider(parties.provider, incoming.flow, 0, "", 0, False)
        self._from_provider = from_provider
        self._call = call_of(destination)
        self._origin = origin
        self._record: CallRecord | None = None
        self.redirections = 0
        self._tried = False  # whether the caller has been told so
        self._answered: set[tuple[int, str]] = set()  # the dialogs that 2xx have gone back of: branch's id and To tag

    # What branches find here

    @property
    def to_tag(self) -> str:
        return self._upstream.to_tag

    @property
    def stage(self) -> Stage:
        return self._targets.stage

    @property
    def outcome(self) -> int:
        return self._targets.outcome

    @property
    def cancelled(self) -> bool:
        return self._state in _CANCELLING

    @property
    def over(self) -> bool:
        return self._state in _OVER

    @property
    def has_more(self) -> bool:
        return self._targets.more

    def references(self) -> tuple[CallReference, CallReference]:
        if self._record is None:
            return self._call, self._call
        return self._record.reference(False), self._record.reference(True)

    @property
    def origin(self) -> CallReference:
        return self.references()[0] if self._origin == CallReference() else self._origin

    def _move(self, event: ContextEvent) -> bool:
        """Let ``event`` happen; whether it means anything now."""
        following = _TRANSITIONS[self._state].get(event)
        if following is None:
            return False
        self._state = following
        self.settle()
        return True

    def settle(self) -> None:
        """Once the request is answered, and nothing is to come of its branches, they are let go: each holds this
        context, and what isn't in a circle needs no garbage collector."""
        if self.over and all(branch.ended for branch in self._branches):
            self._branches.clear()

    def trying(self, now: float) -> None:
        """An INVITE isn't sent again from now on (§16.2); of others that is said later (RFC 4320 §4.1)."""
        if self._tried:
            return
        self._tried = True
        self._upstream.once = False
        if self.invite:
            respond(self._upstream, self.incoming.request, 100, now)

    # Deciding

    def on_decision(self, decision: Decision | None, now: float) -> None:
        if self._state in (ContextState.TAKEN, ContextState.ACCEPTED):
            return
        if self._state is ContextState.REFUSED:
            self._too_late(decision, now)
            return
        match decision:
            case Route():
                self._follow(decision, now)
            case Proceed() if self._destination is not None:
                self.trying(now)
                self.forward_in_dialog(now)
            case Reject():
                self._reject(decision, now)
            case Challenge():
                self._move("refuse")
                stack, realm = self._stack, self.caller.rpartition("@")[2]
                algorithms = decision.algorithms
                fault = stack.authenticator.fault(self.incoming, realm, stack.fleet, now, algorithms=algorithms)
                refuse(self._upstream, self.incoming.request, fault, now)
            case None:
                self._unavailable(now)
            case _:
                self._refuse(500, now)

    def done(self, now: float) -> None:
        """What the request asks for has been done here: it needn't go to anybody."""
        self.trying(now)
        if self._move("accept"):
            respond(self._upstream, self.incoming.request, 200, now)

    def _too_late(self, decision: Decision | None, now: float) -> None:
        """The caller has given up meanwhile. The call is on record all the same, and counts no more."""
        if isinstance(decision, Route | Reject):
            self._record_for(decision, now)
            self._note_failure(487, self.why, now, given_up=True)

    def _follow(self, route: Route, now: float) -> None:
        if route.provider:
            self._parties = self._parties._replace(provider=route.provider)
            self._from_provider = LegToProvider(route.provider, self.incoming.flow, 0, "", 0, False)
        self._record_for(route, now)
        if self.media is not None:
            self.media.counts = route.relayed_calls
        if self._from_provider is not None and self._from_provider.dialog is None:
            self._from_provider = replace(self._from_provider, transfers=route.transfers)
        self._targets.follow(route)
        self.trying(now)
        if not self._try_next(now):
            self._conclude(now)

    def _try_next(self, now: float) -> bool:
        """Try what is to be tried after the last outcome; whether there is anything."""
        if self._state is ContextState.GIVEN_UP or not self._targets.next():
            return False
        self._stage_from = len(self._branches)
        self._rings = False
        self._time_stage(now)
        self._try(by_instance(self.stage.targets), now)
        return True

    def _time_stage(self, now: float) -> None:
        if self.stage.timeout and self.invite:
            self._stack.timers.start(self, "stage", now + self.stage.timeout)

    def slept(self, now: float) -> None:
        """A phone has to be woken, or has been: the stage is as long as somebody may ring, so that its time doesn't run
        while all are asleep, and begins anew when the first one wakes."""
        unfinished = [branch for branch in self._branches[self._stage_from :] if branch.response is None]
        if self._rings or self._state is not ContextState.TRYING:
            return
        if unfinished and all(branch.waking is not None and branch.waking.waits for branch in unfinished):
            self.timers.pop("stage", None)
        else:
            self._time_stage(now)

    def _conclude(self, now: float) -> None:
        """There is nobody left to try."""
        targets = self._targets
        if targets.again and self._decider is not None and self._move("ask"):
            self._decider.ask(self, targets.again, targets.outcomes, now)
        elif targets.end is not None and self._state is not ContextState.GIVEN_UP:
            self._reject(targets.end, now)
        elif any(map(counts, self._branches)):
            self._answer_best(now)
        else:
            self._refuse(targets.outcome or 480, now)

    # Trying

    def forward_in_dialog(self, now: float) -> None:
        """Send the request on by what its token says."""
        destination = self._destination
        assert destination is not None
        binding = "" if isinstance(destination, LegToProvider) else destination.binding
        self._try([Target(uri=self._remote_target, flow=destination.flow.wire, binding=binding)], now)

    @property
    def _remote_target(self) -> str:
        """The URI that the dialog has for whoever gets the request (§12.1)."""
        destination = self._destination
        return destination.contact if isinstance(destination, LegToPhone) else self.incoming.request.uri

    def _try(self, targets: list[Target], now: float) -> None:
        """§16.6, on all targets at once, or each after its delay; those that the request's breadth has no room for wait
        for the others to fail."""
        self._move("try")
        if not self.invite:
            self._stack.timers.start(self, "give up", now + GIVE_UP)
        begun = [self._maker.make(self, target, self._destination, self._from_provider) for target in targets]
        free = self._free_breadth()
        self._branches += begun
        for branch in begun[:free]:
            branch.breadth = max(1, free // len(begun))
        for branch in begun:
            if not branch.breadth:
                branch.wait()
            elif branch.target.after and self.invite:
                branch.delay(now)
            else:
                branch.begin(now)
        self._hurry(now)

    def _unfinished(self) -> list[Branch]:
        return [branch for branch in self._branches if branch.response is None]

    def _free_breadth(self) -> int:
        """What no branch has that is still to answer (RFC 5393 §5.3.3.1)."""
        return self._breadth - sum(branch.breadth for branch in self._unfinished())

    def _hurry(self, now: float) -> None:
        """If all who are still to answer are yet to be tried, the next of them needn't wait for its time."""
        unfinished = self._unfinished()
        if unfinished and all(branch.delayed for branch in unfinished):
            following = min(unfinished, key=lambda branch: (not branch.breadth, branch.target.after))
            following.breadth = following.breadth or self._free_breadth()
            following.begin(now)

    def on_timer(self, name: str, now: float) -> None:
        if self.over:
            return
        if name == "give up":
            self._refuse(480, now)
        elif name == "stage":
            self._end_stage(now)
        else:
            for silent in self._unfinished():
                silent.fail(408, now)

    def _end_stage(self, now: float) -> None:
        """Its time is over: nobody has answered. Where nobody is tried after them, those that were rung have the last
        word: they may have answered just now."""
        self._move("time out")
        last = not self._targets.somebody_left
        asked_last = False
        for branch in self._unfinished():
            if (branch.cancelled or branch.cancel(now)) and last:
                asked_last = True
            else:
                branch.fail(408, now)
        if asked_last:  # not merely because the next stage's are ringing by now
            self._stack.timers.start(self, "last word", now + _LAST_WORD)

    # Responses

    def provisional(self, branch: Branch, response: Response, now: float) -> None:
        if branch.cancelled or not self.invite:  # nothing but 100, and that by ourselves (RFC 4320 §4.1)
            return
        if branch.response is not None or self.cancelled:
            branch.cancel(now)  # its stage is over; or it hadn't rung yet when the others were cancelled
        elif response.status > 100:
            self._rings = self._rings or branch.stage is self.stage
            if self._record is not None:
                self._record.rings(now)
            if branch.stage.early_media == "ringing":
                response = ringing(response)
            self._pass_back(branch, branch.answer(response), now)

    def _pass_back(self, branch: Branch, answer: Response, now: float) -> None:
        if self.media is None:
            self._upstream.respond(answer, now)
        else:
            self.media.answer(branch.media, answer, self._described, now)

    def _described(self, answer: Response, silent: bool, now: float) -> None:
        """``silent``: nobody would hear what it describes."""
        self._upstream.respond(ringing(answer) if silent else answer, now)

    def final(self, branch: Branch, response: Response, now: float) -> None:
        """§16.7 steps 5 and 10."""
        self._note_end(response.status, now)
        if response.status < 300:
            self._taken(branch, response, now)
        elif response.status == 487 and self._state is ContextState.LAST_WORD:
            branch.time_out(now)  # we have cancelled it, since it didn't answer
        else:
            self._give_back(branch)
            self._note_refresh(response, now)
            if response.status >= 600 and self.invite:
                self._move("decline")
                self._cancel_all(now)
            self._branch_over(branch, now)

    def _taken(self, branch: Branch, response: Response, now: float) -> None:
        answered = (id(branch), tag_of(response.get("to") or ""))
        if self._state is ContextState.REFUSED or (self._upstream.ended and answered not in self._answered):
            if self.invite:
                branch.hang_up(response, now)  # the caller was told that nobody answers, or hears of nobody else
            self._give_back(branch)
            return
        self._answered.add(answered)
        self._move("take")
        answer = branch.answer(response)
        session_timer.complete(answer, self.incoming)
        self._note_refresh(answer, now)
        if self.media is None:
            self._go_back(branch, response, answer, now)
        else:
            self.media.answer(branch.media, answer, partial(self._on_described, branch, response), now)
        self.why = _ELSEWHERE
        self._cancel_all(now)

    def _go_back(self, branch: Branch, response: Response, answer: Response, now: float) -> None:
        """``answer`` is the 2xx ``response`` as the caller gets it."""
        if self._record is not None:
            self._record.answered(answer, response, branch, self._branches, self._accept, now)
        else:
            self._accept(answer, now)

    def _on_described(self, branch: Branch, response: Response, answer: Response, silent: bool, now: float) -> None:
        """A call that nobody would hear anything in is no call; ``silent``: it would be one."""
        if self._destination is not None or not (silent or self._state is ContextState.REFUSED):
            self._go_back(branch, response, answer, now)
            return
        branch.hang_up(response, now)
        self._give_back(branch)
        if self._state is ContextState.TAKEN:
            self._refuse(503, now)

    def _accept(self, answer: Response, now: float) -> None:
        self._move("accept")
        self._upstream.respond(answer, now)

    def failed(self, branch: Branch, now: float) -> None:
        if not branch.may_answer:
            self._give_back(branch)
        self._note_end(branch.status, now)
        self._branch_over(branch, now)

    def gone(self, branch: Branch) -> None:
        self._give_back(branch)

    def _give_back(self, branch: Branch) -> None:
        """What the media engine has for it."""
        if self.media is not None:
            self.media.lost(branch.media)

    def _branch_over(self, branch: Branch, now: float) -> None:
        """It has failed: somebody may be tried instead."""
        other = None
        if self._state is ContextState.TRYING:
            other = instead(branch.target, branch.status, branch.flow_failed)
        if other is not None:
            self._try([other], now)
        else:
            self._maybe_answer(now)

    def lost(self, branch: Branch, now: float) -> None:
        """§16.9. Outside dialogs somebody else may be tried instead; inside one its phone may have another flow."""
        if self._destination is None:
            branch.fail(430 if branch.target.instead else 480, now)
            return
        binding = branch.target.binding
        if not binding or self.cancelled:
            branch.fail(430, now)
            return
        if self._other_flows is None:
            self._other_flows = OtherFlows(self._stack, binding, self._call.tenant, self.incoming.flow.address)
        self._branches.remove(branch)
        branch.withdraw()

        def found(target: Target | None, at: float) -> None:
            if self.over:
                return
            if target is not None:
                # Only the flow is new: the remote target stays the one that the dialog has.
                self._try([target.model_copy(update={"uri": self._remote_target})], at)
            elif self._other_flows is not None and self._other_flows.unknown:
                self._unavailable(at)
            else:
                self._refuse(430, at)

        self._other_flows.find(branch.flow, found, now)

    def _maybe_answer(self, now: float) -> None:
        """§16.7 step 6: once all branches are final, the next targets are tried, or the best response goes back."""
        if self.over:
            return
        if self._unfinished():
            self._hurry(now)
            return
        self.timers.pop("stage", None)
        if self._state is ContextState.TAKEN:
            return  # that goes on once its record is safe
        best = best_branch(self._branches[self._stage_from :])
        self._targets.failed(best.status)
        if not self._redirect(best, now) and not self._try_next(now):
            self._conclude(now)

    def _redirect(self, best: Branch, now: float) -> bool:
        """Whether its phone has redirected the call to somewhere, and nobody has said otherwise for that case."""
        response, by = best.response, best.wanted.aor
        if not (by and self.invite and best.status in FOLLOWED) or response is None or self._decider is None:
            return False
        to, secure = redirected_to(response, self.incoming.flow, self._stack.own, self._stack.fleet)
        if not to or self._targets.expects(best.status) or not self._move("ask"):
            return False

        def decided(decision: Decision | None, at: float) -> None:
            if isinstance(decision, Route):
                best.followed = True
                self.incoming.secure = self.incoming.secure or secure
            if isinstance(decision, Route) or self._state is not ContextState.DECIDING:
                self.on_decision(decision, at)
            elif not self._try_next(at):
                self._conclude(at)  # it can't be followed: the caller may know better

        self._decider.redirect(self, Deflection(by, to), self._targets.outcomes, decided, now)
        self.redirections += 1
        return True

    # Answering

    def _answer_best(self, now: float) -> None:
        best = best_branch(self._branches)
        if self._state is ContextState.GIVEN_UP and best.status < 600:
            self._refuse(487, now, self.why)
        elif best.status == 408 and not self.invite:
            self._refuse(480, now)
        elif best.status == 430 and self._destination is None:
            self._refuse(480, now)  # proxies say that to each other, and nobody to a caller (RFC 5626 §11.5)
        else:
            answer = best_response(best, self._branches)
            self._note_refusal(answer.status, now, answer.get("reason") or "")
            self._upstream.respond(answer, now)

    def _refuse(self, status: int, now: float, reason: str = "") -> None:
        """``reason`` is for the record."""
        self._note_refusal(status, now, reason)
        respond(self._upstream, self.incoming.request, status, now)

    def _reject(self, decision: Reject, now: float) -> None:
        self._upstream.once = self._upstream.once and not decision.tenant
        self._record_for(decision, now)
        text = f"{decision.reason}: {decision.contact}" if decision.contact else decision.reason
        self._note_refusal(decision.status, now, f'SIP;cause={decision.status};text="{text}"' if text else "")
        reject(self._upstream, self.incoming.request, decision, now)

    def _unavailable(self, now: float) -> None:
        self._note_refusal(503, now)
        unavailable(self._upstream, self.incoming.request, self._stack.counters, now)

    # Cancelling

    def cancel(self, now: float, why: str) -> None:
        """The caller's CANCEL (§16.10)."""
        if not self._move("give up"):
            return
        self.why = why
        if self._unfinished():
            self._cancel_all(now)
        else:
            self._refuse(487, now, why)  # nobody is rung: it is still being decided, or decided once more

    def _cancel_all(self, now: float) -> None:
        for branch in self._unfinished():
            if branch.delayed:
                branch.fail(487, now)
            else:
                branch.cancel(now)  # one that hasn't rung yet is cancelled then

    # The record

    def _record_for(self, decision: Route | Reject, now: float) -> None:
        if self.invite and decision.tenant and self._record is None:
            self._record = CallRecord(self._stack, self.incoming, self.attempt, decision.tenant, self._parties, now)
        if self._record is not None and isinstance(decision, Route):
            self._record.count(decision.counted)

    def _note_refusal(self, status: int, now: float, reason: str = "") -> None:
        """The request ends with ``status``."""
        self._note_failure(status, reason, now, self._state is ContextState.GIVEN_UP)
        self._move("refuse")
        if self.media is not None:
            self.media.refused()

    def _note_failure(self, status: int, reason: str, now: float, given_up: bool) -> None:
        if self._record is not None:
            over = [branch for branch in self._branches if counts(branch)]
            best = best_branch(over) if over else None
            self._record.failed(status, reason, best, self._branches, given_up, now)

    def _note_refresh(self, answer: Response, now: float) -> None:
        if self._destination is not None and self._reports:
            session_timer.note_refresh(self._stack, self.incoming, self._destination, answer, now)

    def _note_end(self, status: int, now: float) -> None:
        """The request was answered: if it is a BYE, its call is over."""
        if self.incoming.request.method != "BYE" or self._destination is None or not is_over(status):
            return
        end = CallEnd(self._stack, self.incoming, self._destination, now) if self._reports else None
        if self.media is not None:
            self.media.ended(end.report if end is not None else self._heard)
        elif end is not None:
            end.report((), now)
