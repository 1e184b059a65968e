"""The response context of RFC 3261 §16: one request, the branches it was forwarded on, and the one best answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge.providers.leg import Heard, phone_call_id
from edge.providers.leg_token import ToPhone, ToProvider
from edge.proxy.branch import Branch
from edge.proxy.call_record import CallRecord, ended
from edge.proxy.flow_token import CallReference, Destination
from edge.proxy.provider_branch import PhoneBranch, ProviderBranch
from edge.proxy.validation import Incoming
from edge.sip.message import Response
from edge.sip.timers import TIMER_C
from edge.sip.transaction import ServerTransaction, State
from lambdas.contract import Challenge, Decision, LocateQuestion, Reject, Route, Stage, Target

if TYPE_CHECKING:
    from edge.proxy.core import Core

GIVE_UP = 20.0
"""Seconds after which a non-INVITE request is answered 480. Its sender stops waiting at 32 s, and a 408 may not be
sent then (RFC 4320 §4.2)."""

_CANCEL_WAIT = 32.0  # §9.1: a branch that answers neither the CANCEL nor the INVITE is over after 64*T1
_CHALLENGES = ("www-authenticate", "proxy-authenticate")
_PREFERRED = (401, 407, 415, 420, 484)  # §16.7 step 6: these tell the caller what to do


class ResponseContext:
    """From the request's arrival to its last response. ``timers`` is read by the TimerHeap."""

    def __init__(self, core: Core, incoming: Incoming, server: ServerTransaction, caller: str) -> None:
        """``caller`` is the AOR that the request is from, "" inside a dialog."""
        self.core = core
        self.incoming = incoming
        self.caller = caller
        self.called = ""
        self.cancelled = False
        self.timers: dict[str, int] = {}
        self._server = server
        self._branches: list[Branch] = []
        self._stages: list[Stage] = []
        self._delayed: list[Branch] = []
        self._given_up = False  # by the caller
        self._stage_from = 0  # the first of the present stage's branches
        self._otherwise: Reject | None = None
        self._located = False
        self._destination: Destination | ToProvider | ToPhone | None = None
        self._from_provider: ToProvider | None = None
        self._call = CallReference()
        self._record: CallRecord | None = None

    @property
    def invite(self) -> bool:
        return self.incoming.request.method == "INVITE"

    # What branches ask

    @property
    def to_tag(self) -> str:
        return self._server.to_tag

    @property
    def over(self) -> bool:
        return self._server.answered

    @property
    def has_more(self) -> bool:
        """Whether there is somebody to try when the present branches fail."""
        return bool(self._stages)

    @property
    def heard(self) -> Heard:
        incoming = self.incoming
        return Heard(incoming.request, incoming.call_id, incoming.cseq, incoming.max_forwards, incoming.to_tag)

    def references(self) -> tuple[CallReference, CallReference]:
        """For tokens that lead to the callee, and to the caller."""
        if self._record is None:
            return self._call, self._call
        return self._record.reference(False), self._record.reference(True)

    def phone_side(self, way: ToProvider) -> ToPhone:
        """Where a provider's requests in this call go."""
        flow = self.incoming.flow
        binding = self.core.bindings.first_on(flow)
        return ToPhone(way.provider, flow, binding, "", way.tenant, way.started, way.transfers, way.translated)

    # Deciding

    def on_decision(self, decision: Decision | None, now: float) -> None:
        if self._server.answered:
            return  # cancelled meanwhile
        match decision:
            case Route():
                if self.invite and decision.tenant:
                    self._record = CallRecord(self.core, self.incoming, decision.tenant, self.caller, self.called, now)
                first = Stage(targets=decision.targets, timeout=decision.timeout)
                self._stages = [first, *decision.stages]
                self._otherwise = decision.otherwise
                if self._from_provider is not None:
                    self._from_provider = replace(self._from_provider, transfers=decision.transfers)
                if not self._next_stage(480, now):
                    self._answer(480, now)
            case Reject():
                self.core.reject(self._server, self.incoming, decision, now)
            case Challenge():
                realm = self.caller.rpartition("@")[2]
                self.core.challenge(self._server, self.incoming, realm, now)
            case None:
                self.core.unavailable(self._server, self.incoming, now)
            case _:
                self._answer(500, now)

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

    def _next_stage(self, outcome: int, now: float) -> bool:
        """Try what is to be tried after ``outcome``; whether there is anything."""
        while self._stages and not self._given_up:
            stage = self._stages.pop(0)
            if stage.when and outcome not in stage.when:
                continue
            if not stage.targets:
                outcome = 480
                continue
            self._stage_from = len(self._branches)
            self.cancelled = False
            self.forward(stage.targets, now)
            if stage.timeout and self.invite:
                self.core.timers.start(self, "stage", now + stage.timeout)
            return True
        return False

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
        """Its time is over: nobody has answered."""
        for branch in self._branches:
            if branch.response is None:
                if branch in self._delayed:
                    self._delayed.remove(branch)
                else:
                    self.timers.pop(branch.name, None)
                    branch.cancel(now)
        for branch in [branch for branch in self._branches if branch.response is None]:
            branch.fail(408, now)

    def _branch(self, target: Target) -> Branch:
        name = str(len(self._branches))
        destination = self._destination
        branch: Branch
        if isinstance(destination, ToPhone):
            way = ToProvider(destination.provider, self.incoming.flow, 0, "", 0, destination.transfers)
            branch = PhoneBranch(self, target, name, way, destination)
        elif self._from_provider is not None:
            branch = PhoneBranch(self, target, name, self._back_to_provider(self._from_provider), None)
        elif target.provider is not None or isinstance(destination, ToProvider):
            way_out = destination if isinstance(destination, ToProvider) else None
            branch = ProviderBranch(self, target, name, way_out)
        else:
            branch = Branch(self, target, name)
        self._branches.append(branch)
        return branch

    def _back_to_provider(self, way: ToProvider) -> ToProvider:
        back = self.references()[1]
        return ToProvider(way.provider, way.flow, 0, back.tenant, back.started, way.transfers)

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
            self._server.respond(branch.answer(response), now)

    def final(self, branch: Branch, response: Response, now: float) -> None:
        self.timers.pop(branch.name, None)
        self._note_end(response.status, now)
        if response.status < 300:
            answer = branch.answer(response)
            if self._record is not None:
                self._record.answered(answer, branch.flow, self._forward_2xx, now)
            else:
                self._forward_2xx(answer, now)
            self._cancel_all(now)
        else:
            if response.status >= 600:
                self._cancel_all(now)
            self._maybe_answer(now)

    def _forward_2xx(self, answer: Response, now: float) -> None:
        self._server.respond(answer, now)

    def failed(self, branch: Branch, now: float) -> None:
        """A branch has ended without a response of its own."""
        self.timers.pop(branch.name, None)
        assert branch.response is not None
        self._note_end(branch.response.status, now)
        self._maybe_answer(now)

    def _note_end(self, status: int, now: float) -> None:
        if self.incoming.request.method == "BYE":
            call_id = self.incoming.call_id
            if isinstance(self._destination, ToPhone):
                call_id = phone_call_id(call_id, self._destination, self.core.fleet_now.tokens)
            ended(self.core, self.incoming, call_id, self._call, status, now)

    def lost(self, branch: Branch, now: float) -> None:
        """§16.9. Inside a dialog the binding may have another flow by now: ask once."""
        binding = branch.target.binding if self._destination is not None else ""
        if binding and not self._located and not self.cancelled:
            self._located = True
            self._branches.remove(branch)
            self.timers.pop(branch.name, None)
            self.core.ask(
                lambda ask, address, epoch: LocateQuestion(request=ask, address=address, epoch=epoch, binding=binding),
                self.incoming.flow,
                lambda decision, at: self._on_located(branch.target, decision, at),
                now,
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
        finals = [branch for branch in self._branches if branch.response is not None]
        if len(finals) < len(self._branches):
            if self._delayed and len(finals) + len(self._delayed) == len(self._branches):
                self._begin_delayed(min(self._delayed, key=lambda branch: branch.target.after), now)
            return
        self.timers.pop("stage", None)
        best = min(finals, key=_rank)
        assert best.response is not None
        status = best.response.status
        if any(branch.response is not None and branch.response.status < 300 for branch in finals):
            return  # that goes on once its record is safe
        stage = min(finals[self._stage_from :], key=_rank)
        assert stage.response is not None
        if self._next_stage(stage.response.status, now):
            return
        if self._given_up and status < 600:
            self._answer(487, now)
            return
        if status == 408 and not self.invite:
            self._answer(480, now)
            return
        if self._otherwise is not None and not self._given_up:
            self.core.reject(self._server, self.incoming, self._otherwise, now)
            return
        answer = best.answer(best.response)
        if answer.status in (401, 407):  # step 7: every challenge is worth answering
            for other in finals:
                if other is not best and other.response is not None and other.response.status in (401, 407):
                    answer.headers += [header for header in other.response.headers if header[0] in _CHALLENGES]
        elif answer.status == 503:  # step 6: our caller could only take it for us
            answer.status, answer.reason = 500, "Server Internal Error"
        self._server.respond(answer, now)

    def _answer(self, status: int, now: float) -> None:
        self.core.respond(self._server, self.incoming.request, status, now)

    # Cancelling

    def cancel(self, now: float) -> None:
        """The caller's CANCEL (§16.10)."""
        if self._server.answered or self._given_up:
            return
        self.cancelled = self._given_up = True
        if not self._branches:
            self._answer(487, now)
            return
        self._cancel_all(now)

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


def _rank(branch: Branch) -> tuple[int, int]:
    """Lowest is best (§16.7 step 6): 6xx, then the lowest class, then what tells the caller what to do; a refusal
    made by somebody over one made by silence."""
    assert branch.response is not None
    status = branch.response.status
    if status >= 600:
        return (0, 0)
    if status in _PREFERRED:
        return (status // 100, 0)
    return (status // 100, 2 if status in (408, 480, 430) else 1)
