"""The best answer of several branches (RFC 3261 §16.7 step 6)."""

from __future__ import annotations

from collections.abc import Sequence

from edge.proxy.forwarding.branch import Branch
from edge.sip.message import Response

_CHALLENGES = ("www-authenticate", "proxy-authenticate")
_PREFERRED = (401, 407, 415, 420, 484)  # these tell the caller what to do


def best_branch(branches: Sequence[Branch]) -> Branch:
    """Of those that have a final response, and one that counts: a redirection that was followed doesn't (RFC 3261 §16.7
    step 4)."""
    return min((branch for branch in branches if counts(branch)), key=_rank)


def counts(branch: Branch) -> bool:
    """Whether its response may be the one that goes back."""
    return branch.response is not None and not branch.followed


def best_response(best: Branch, branches: Sequence[Branch]) -> Response:
    """What the caller gets of ``best``, and of the others' challenges."""
    assert best.response is not None
    answer = best.answer(best.response)
    if answer.status in (401, 407):  # step 7: every challenge is worth answering
        for other in branches:
            if other is not best and other.response is not None and other.status in (401, 407):
                answer.headers += [header for header in other.response.headers if header[0] in _CHALLENGES]
    elif answer.status == 503 and not best.unrelayed:  # step 6: our caller could only take it for us
        answer.status, answer.reason = 500, "Server Internal Error"
    return answer


def _rank(branch: Branch) -> tuple[int, int]:
    """Lowest is best: 6xx, then the lowest class, then what tells the caller what to do; a refusal made by somebody
    over one made by silence, and over that of a phone which doesn't have the dialog meant (RFC 3891 §3)."""
    status = branch.status
    if status >= 600:
        return (0, 0)
    if status in _PREFERRED:
        return (status // 100, 0)
    return (status // 100, 2 if status in (408, 480, 430, 481) else 1)
