"""Writing together: DynamoDB cancels a transaction that meets another one, which MiniStack never does."""

from __future__ import annotations

import pytest
from pynamodb.exceptions import CancellationReason, PutError, TransactWriteError, VerboseClientError

from lambdas.repositories import transactions
from lambdas.repositories.transactions import Busy, conditional, transact


def cancelled(*codes, code="TransactionCanceledException"):
    reasons = [CancellationReason(code=one, message=None) if one else None for one in codes]
    error = VerboseClientError({"Error": {"Code": code}}, "TransactWriteItems", {}, cancellation_reasons=reasons)
    return TransactWriteError("", error)


@pytest.fixture
def answers(monkeypatch):
    """What DynamoDB answers, one try after the other; the last for ever."""
    given = []

    class Transaction:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            answer = given.pop(0) if len(given) > 1 else given[0]
            if answer is not None:
                raise answer

    monkeypatch.setattr(transactions, "transaction", Transaction)
    monkeypatch.setattr(transactions.time, "sleep", lambda seconds: None)
    return given


def test_what_met_others_is_tried_again(answers):
    answers += [cancelled(None, "TransactionConflict"), cancelled("ThrottlingError"), None]
    tries = []
    assert transact(tries.append)
    assert len(tries) == 3


def test_a_condition_that_doesnt_hold_is_none_of_these(answers):
    answers += [cancelled("ConditionalCheckFailed", "TransactionConflict")]
    tries = []
    assert not transact(tries.append)
    assert len(tries) == 1


def test_not_for_ever(answers, monkeypatch):
    answers += [cancelled("TransactionConflict")]
    clock = iter(range(100))
    monkeypatch.setattr(transactions.time, "monotonic", lambda: next(clock))
    with pytest.raises(Busy):
        transact(lambda _: None)


def test_any_other_failure_is_itself(answers):
    answers += [cancelled(code="AccessDeniedException")]
    with pytest.raises(TransactWriteError):
        transact(lambda _: None)


def test_a_condition_that_doesnt_hold_is_told_from_a_failure():
    def write(code):
        raise PutError("", VerboseClientError({"Error": {"Code": code}}, "PutItem", {}))

    assert conditional(lambda: None)
    assert not conditional(lambda: write("ConditionalCheckFailedException"))
    with pytest.raises(PutError):
        conditional(lambda: write("ValidationException"))
