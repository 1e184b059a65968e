"""The response context of RFC 3261 §16: one request, the branches it was forwarded on, and the one best answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from edge.providers.leg_token import ToPhone, ToProvider
from edge.proxy.forwarding.best_response import answer_of, best_of
from edge.proxy.forwarding.branch import Branch
from edge.proxy.forwarding.call_record import CallRecord
from edge.proxy.forwarding.early_media import ringing
from edge.proxy.forwarding.provider_branch import make_branch
from edge.proxy.forwarding.recorded import Recorded
from edge.proxy.forwarding.target_set import Stages
from edge.proxy.stack.flow_token import CallReference, Destination
from edge.proxy.stack.validation import Incoming
from edge.sip.message import Response
from edge.sip.timers import TIMER_C
from edge.sip.transaction import ServerTransaction, State
from lambdas.contract import (
    NOBODYS_ANSWER,
    Challenge,
    Decision,
    Reject,
    Route,
    Stage,
    Target,
)

if TYPE_CHECKING:
    from edge.proxy.core import Core

GIVE_UP = 20.0
"""Seconds after which a non-INVITE request is answered 480. Its sender stops waiting at 32 s, and a 408 may not be
sent then (RFC 4320 §4.2)."""

_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'  # so that phones don't show a call as missed
_LAST_WORD = 2.0  # seconds for those that were cancelled to say so, before the caller hears that nobody answers
_CANCEL_WAIT = 32.0  # §9.1: a branch that answers neither the CANCEL nor the INVITE is over after 64*T1


class ResponseContext(Recorded):
    """From the request's arrival to its last response. ``timers`` is read by the TimerHeap."""

    def __init__(self, core: Core, incoming: Incoming, server: ServerTransaction, caller: str) -> None:
        """``caller`` is the AOR that the request is from, "" inside a dialog."""
        self.core = core
        self.incoming = incoming
        self.caller = caller
        self.called = ""
        self.cancelled = False
        self.timers: dict[str, int] = {}
        self.attempt = core.new_token() if self.invite and not incoming.to_tag else ""
        self._server = server
        self.ask_again: Callable[[str, list[int], float], None] | None = None
        """Puts the question once more, with what the decision says and the outcomes so far."""
        self._branches: list[Branch] = []
        self._stages = Stages()
        self._stage = Stage(targets=[])
        self._stage_over = False
        self._delayed: list[Branch] = []
        self._given_up = False  # by the caller
        self._why = ""  # as the caller's CANCEL says (RFC 3326)
        self._accepted = False  # by somebody called
        self._stage_from = 0  # the first of the present stage's branches
        self._located = False
        self._destination: Destination | ToProvider | ToPhone | None = None
        self._from_provider: ToProvider | None = None
        self._call = CallReference()
        self._record: CallRecord | None = None

    # Deciding

    def on_decision(self, decision: Decision | None, now: float) -> None:
        if any(200 <= branch.status < 300 for branch in self._branches):
            return  # taken meanwhile
        if self._server.answered:
            self._too_late(decision, now)
            return
        match decision:
            case Route():
                self._follow(decision, now)
            case Reject():
                self._reject(decision, now)
            case Challenge():
                realm = self.caller.rpartition("@")[2]
                self.core.challenge(self._server, self.incoming, realm, now)
            case None:
                self._note_failure(503, "", now)
                self.core.unavailable(self._server, self.incoming, now)
            case _:
                self._answer(500, now)

    def _too_late(self, decision: Decision | None, now: float) -> None:
        """The caller has given up meanwhile. The call is on record all the same, and counts no more."""
        if not isinstance(decision, Route | Reject):
            return
        self._recorded_for(decision.tenant, now)
        if isinstance(decision, Route) and self._record is not None:
            self._record.counted |= set(decision.counted)
        self._note_failure(487, self._why, now)

    def _reject(self, decision: Reject, now: float) -> None:
        self._recorded_for(decision.tenant, now)
        text = f"{decision.reason}: {decision.contact}" if decision.contact else decision.reason
        said = f'SIP;cause={decision.status};text="{text}"' if text else ""
        self._note_failure(decision.status, said, now)
        self.core.reject(self._server, self.incoming, decision, now)

    def _follow(self, route: Route, now: float) -> None:
        self._recorded_for(route.tenant, now)
        if self._record is not None:
            self._record.counted |= set(route.counted)
        if self._from_provider is not None:
            self._from_provider = replace(self._from_provider, transfers=route.transfers)
        self._stages.follow(route)
        if not self._next_stage(now):
            self._conclude(now)

    def after(self, outcome: int) -> None:
        """What this leads to has been tried elsewhere already, and failed with ``outcome``."""
        self._stages.outcome = outcome

    def came_from(self, provider: str) -> None:
        """It is a provider's."""
        self._from_provider = ToProvider(provider, self.incoming.flow, 0, "", 0, False)

    def forward_in_dialog(self, destination: Destination | ToProvider | ToPhone, now: float) -> None:
        """Send the request on by what a token says."""
        self._destination = destination
        uri, flow, binding = self.incoming.request.uri, destination.flow, ""
        if isinstance(destination, Destination):
            binding = destination.binding
            self._call = destination.call
        elif isinstance(destination, ToPhone):
            binding, uri = destination.binding, destination.contact
            self._call = CallReference(destination.tenant, destination.started, destination.translated)
        else:
            self._call = CallReference(destination.tenant, destination.started, not destination.translated)
        self.forward([Target(uri=uri, flow=flow, binding=binding)], now)

    def _next_stage(self, now: float) -> bool:
        """Try what is to be tried after the last outcome; whether there is anything."""
        stage = self._stages.next() if not self._given_up else None
        if stage is None:
            return False
        self._stage, self._stage_over = stage, False
        self._stage_from = len(self._branches)
        self.cancelled = False
        self.forward(stage.targets, now)
        if stage.timeout and self.invite:
            self.core.timers.start(self, "stage", now + stage.timeout)
        return True

    def _conclude(self, now: float) -> None:
        """All stages have failed."""
        stages = self._stages
        if stages.again and self.ask_again is not None and not self._given_up:
            self.ask_again(stages.again, stages.outcomes, now)
        elif stages.end is not None and not self._given_up:
            self._reject(stages.end, now)
        elif self._branches:
            self._answer_best(now)
        else:
            self._answer(stages.outcome or 480, now)

    def forward(self, targets: list[Target], now: float) -> None:
        """§16.6, on all targets at once, or each after its delay."""
        if not self.invite:
            self.core.timers.start(self, "give_up", now + GIVE_UP)
        started = [self._branch(target) for target in targets]
        for branch in started:
            if branch.target.after and self.invite:
                self._delayed.append(branch)
                self.core.timers.start(self, f"after {branch.name}", now + branch.target.after)
            else:
                self._begin(branch, now)
        if self._delayed and len(self._delayed) == sum(branch.response is None for branch in self._branches):
            self._begin_delayed(min(self._delayed, key=lambda branch: branch.target.after), now)

    def _begin(self, branch: Branch, now: float) -> None:
        branch.begin(now)
        if self.invite:
            self.core.timers.start(self, branch.name, now + TIMER_C)

    def _begin_delayed(self, branch: Branch, now: float) -> None:
        """Its time has come, or there is nobody else."""
        self._delayed.remove(branch)
        self.timers.pop(f"after {branch.name}", None)
        self._begin(branch, now)

    def _end_stage(self, now: float) -> None:
        """Its time is over: nobody has answered. Where nobody is tried after them, those that were rung have the last
        word: they may have answered just now."""
        self._stage_over = True
        last = not self._stages.somebody_left
        asked_last = False
        for branch in [branch for branch in self._branches if branch.response is None]:
            if branch in self._delayed:
                self._delayed.remove(branch)
            else:
                self.timers.pop(branch.name, None)
                if (branch.cancelled or branch.cancel(now)) and last:
                    asked_last = True
                    continue
            branch.fail(408, now)
        if asked_last:  # not merely because the next stage's are ringing by now
            self.core.timers.start(self, "last word", now + _LAST_WORD)

    def _branch(self, target: Target) -> Branch:
        branch = make_branch(self, target, str(len(self._branches)), self._destination, self._from_provider)
        self._branches.append(branch)
        return branch

    # Responses

    def provisional(self, branch: Branch, response: Response, now: float) -> None:
        if branch.cancelled or (self.cancelled and self._cancel(branch, now)):
            return
        if branch.response is not None:
            branch.cancel(now)  # its stage is over
            return
        if response.status > 100:
            if self.invite:
                self.core.timers.start(self, branch.name, now + TIMER_C)
            if self._record is not None:
                self._record.rings(now)
            if branch.stage.early_media == "ringing":
                response = ringing(response)
            self._server.respond(branch.answer(response), now)

    def final(self, branch: Branch, response: Response, now: float) -> None:
        self.timers.pop(branch.name, None)
        self.note_end(response.status, now)
        if response.status == 487 and self._stage_over and not self._given_up:
            branch.response = None  # we have cancelled it, since it didn't answer
            branch.fail(408, now)
        elif response.status < 300 and self._server.answered and not self._accepted:
            branch.hang_up(response, now)  # the caller was told that nobody answers
        elif response.status < 300:
            answer = branch.answer(response)
            if self._record is not None:
                self._record.answered(answer, response, branch, self._branches, self._forward_2xx, now)
            else:
                self._forward_2xx(answer, now)
            self._why = _ELSEWHERE
            self._cancel_all(now)
        else:
            if response.status >= 600:
                self._cancel_all(now)
            self._branch_over(branch, now)

    def _forward_2xx(self, answer: Response, now: float) -> None:
        self._accepted = True
        self._server.respond(answer, now)

    def failed(self, branch: Branch, now: float) -> None:
        """A branch has ended without a response of its own."""
        self.timers.pop(branch.name, None)
        self.note_end(branch.status, now)
        self._branch_over(branch, now)

    def _branch_over(self, branch: Branch, now: float) -> None:
        """It has failed: somebody may be tried instead."""
        instead = branch.target.instead
        over = self._stage_over or self.cancelled or self.over
        if instead and branch.status in NOBODYS_ANSWER and not over:
            self.forward([instead[0].model_copy(update={"instead": instead[1:]})], now)
        else:
            self._maybe_answer(now)

    def lost(self, branch: Branch, now: float) -> None:
        """§16.9. Inside a dialog the binding may have another flow by now: ask once."""
        binding = branch.target.binding if self._destination is not None else ""
        if binding and not self._located and not self.cancelled:
            self._located = True
            self._branches.remove(branch)
            self.timers.pop(branch.name, None)
            self.core.locate(
                binding, self.incoming.flow, lambda decision, at: self._on_located(branch.target, decision, at), now
            )
            return
        branch.fail(480 if self._destination is None else 430, now)

    def _on_located(self, target: Target, decision: Decision | None, now: float) -> None:
        if self._server.answered:
            return
        if isinstance(decision, Route) and decision.targets:
            # Only the flow is new: the remote target stays the one that the dialog has.
            self.forward([decision.targets[0].model_copy(update={"uri": target.uri})], now)
        elif decision is None:
            self.core.unavailable(self._server, self.incoming, now)
        else:
            self._answer(430, now)

    def _maybe_answer(self, now: float) -> None:
        """§16.7 steps 5 and 6: once all branches are final, the best goes back, or the next targets are tried."""
        if self._server.answered:
            return
        unfinished = sum(branch.response is None for branch in self._branches)
        if unfinished:
            if unfinished == len(self._delayed):
                self._begin_delayed(min(self._delayed, key=lambda branch: branch.target.after), now)
            return
        self.timers.pop("stage", None)
        if any(branch.status < 300 for branch in self._branches):
            return  # that goes on once its record is safe
        self._stages.failed(best_of(self._branches[self._stage_from :]).status)
        if self._next_stage(now):
            return
        if self._destination is None:
            self._conclude(now)
        else:
            self._answer_best(now)

    def _answer_best(self, now: float) -> None:
        best = best_of(self._branches)
        if self._given_up and best.status < 600:
            self._answer(487, now, self._why)
        elif best.status == 408 and not self.invite:
            self._answer(480, now)
        else:
            answer = answer_of(best, self._branches)
            self._note_failure(answer.status, answer.get("reason") or "", now)
            self._server.respond(answer, now)

    def _answer(self, status: int, now: float, reason: str = "") -> None:
        self._note_failure(status, reason, now)
        self.core.respond(self._server, self.incoming.request, status, now)

    # Cancelling

    def cancel(self, now: float, why: str = "") -> None:
        """The caller's CANCEL (§16.10); ``why`` is its Reason (RFC 3326)."""
        if self._server.answered or self._given_up:
            return
        self.cancelled = self._given_up = True
        self._why = why
        if any(branch.response is None for branch in self._branches):
            self._cancel_all(now)
        elif all(branch.status >= 300 for branch in self._branches):
            self._answer(487, now, why)  # nobody is rung: it is still being decided, or decided once more

    def _cancel_all(self, now: float) -> None:
        delayed, self._delayed = self._delayed, []
        for branch in self._branches:
            self._cancel(branch, now)
        for branch in delayed:
            branch.fail(487, now)

    def _cancel(self, branch: Branch, now: float) -> bool:
        """Cancel an unanswered INVITE branch; one that hasn't rung yet is cancelled then."""
        if not self.invite or branch.response is not None or branch.cancelled:
            return False
        self.cancelled = True
        if not branch.cancel(now):
            return False
        self.core.timers.start(self, branch.name, now + _CANCEL_WAIT)
        return True

    def on_timer(self, name: str, now: float) -> None:
        if name == "give_up":
            if not self._server.answered:
                self._answer(480, now)
            return
        if name == "stage":
            self._end_stage(now)
            return
        if name == "last word":
            for silent in [branch for branch in self._branches if branch.response is None]:
                silent.fail(408, now)
            return
        if name.startswith("after "):
            for delayed in [branch for branch in self._delayed if name == f"after {branch.name}"]:
                self._begin_delayed(delayed, now)
            return
        # Timer C (§16.8), or a CANCEL nobody honoured
        branch = next((branch for branch in self._branches if branch.name == name), None)
        if branch is None or branch.response is not None:
            return
        transaction = branch.transaction
        if transaction is not None and transaction.state is State.PROCEEDING and not branch.cancelled:
            self._cancel(branch, now)
        else:
            branch.fail(408, now)
            branch.abandon()
