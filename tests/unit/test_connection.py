"""How the control plane reaches DynamoDB."""

import pytest

from lambdas.repositories import call_models, connection, models
from lambdas.repositories.connection import Item, transaction


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.mark.usefixtures("credentials")
def test_all_models_and_transactions_have_one_client():
    """Seen with PynamoDB 6.1.0: each model, and each transaction, makes one by itself, and takes 50 ms for it."""
    found = [*vars(models).values(), *vars(call_models).values()]
    items = {one for one in found if isinstance(one, type) and issubclass(one, Item) and hasattr(one, "Meta")}
    assert len(items) > 30
    clients = {id(one._get_connection().connection.client) for one in items}
    assert clients == {id(transaction()._connection.client)} == {id(connection.dynamodb())}
