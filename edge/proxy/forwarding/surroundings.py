"""What branches find around them: the request that they are of, its call, and the stage that they belong to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge.providers.leg import Heard
from edge.providers.leg_token import ToPhone, ToProvider
from edge.proxy.forwarding.call_record import CallRecord
from edge.proxy.forwarding.target_set import Stages
from edge.proxy.stack.flow_token import CallReference
from edge.proxy.stack.validation import Incoming
from edge.sip.transaction import ServerTransaction
from lambdas.contract import Stage

if TYPE_CHECKING:
    from edge.proxy.core import Core


class Surroundings:
    """What a response context has of them."""

    core: Core
    incoming: Incoming
    _server: ServerTransaction
    _stage: Stage
    _stages: Stages
    _record: CallRecord | None
    _call: CallReference
    _why: str

    @property
    def why(self) -> str:
        """Why branches are cancelled, as a Reason value (RFC 3326), or ""."""
        return self._why

    @property
    def invite(self) -> bool:
        return self.incoming.request.method == "INVITE"

    @property
    def to_tag(self) -> str:
        return self._server.to_tag

    @property
    def over(self) -> bool:
        return self._server.answered

    @property
    def has_more(self) -> bool:
        """Whether there is somebody to try when the present branches fail."""
        return self._stages.more

    @property
    def stage(self) -> Stage:
        """The present one."""
        return self._stage

    @property
    def outcome(self) -> int:
        """The status of the stage before the present one; 0 if there was none."""
        return self._stages.outcome

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
        back = replace(way, contact="") if flow.internal else None
        return ToPhone(way.provider, flow, binding, "", way.tenant, way.started, way.transfers, way.translated, back)
