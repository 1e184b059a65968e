"""The client of DynamoDB: what it sends, signs and sends again, and what it makes of answers."""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import threading

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.session import Session

from lambdas.repositories import dynamodb
from lambdas.repositories.dynamodb import DynamoDB, signed


@pytest.fixture
def client_of():
    """Makes clients, and ends them."""
    with contextlib.ExitStack() as stack:
        yield lambda *given, **more: stack.enter_context(contextlib.closing(DynamoDB(*given, **more)))


KEY = {"TableName": "t", "Key": {"pk": {"S": "ü"}}}


class Server:
    """Answers requests with what was prepared, one connection after the other; ``ends``: each after one answer, without
    having said so."""

    def __init__(self, *answers, ends=False):
        self.answers = list(answers)
        self.requests = []
        self.connections = 0
        self.closed = threading.Event()
        self._ends = ends
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while self.answers:
            connection, _ = self._socket.accept()
            self.connections += 1
            with connection, connection.makefile("rb") as lines:
                while self.answers and self._exchange(connection, lines) and not self._ends:
                    pass
            self.closed.set()
        self._socket.close()

    def _exchange(self, connection, lines):
        head = [line.decode().rstrip() for line in iter(lines.readline, b"\r\n") if line]
        if not head:
            return False
        fields = dict(line.split(": ", 1) for line in head[1:])
        fields = {name.lower(): value for name, value in fields.items()}
        self.requests.append((head[0], fields, lines.read(int(fields.get("content-length", 0)))))
        status, body = self.answers.pop(0)
        data = json.dumps(body).encode() if body is not None else b"<html>"
        connection.sendall(
            b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nx-amzn-requestid: R\r\n\r\n%s" % (status, len(data), data)
        )
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    for name in ("AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dynamodb, "_PAUSE", 0.0)
    made = Session()  # others remember the credentials of other tests
    monkeypatch.setattr(dynamodb, "session", lambda: made)


def refusal(code, **more):
    return {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "because", **more}


@pytest.mark.parametrize("token", [None, "a/token+=="])
@pytest.mark.parametrize(
    ("host", "region"), [("127.0.0.1:4566", "us-east-1"), ("dynamodb.eu-west-1.amazonaws.com", "eu-west-1")]
)
@pytest.mark.parametrize("body", [b"", b"{}", json.dumps(KEY).encode(), bytes(range(256))])
def test_requests_are_signed_as_botocore_signs_them(token, host, region, body, monkeypatch):
    credentials = ReadOnlyCredentials("AKID", "wJalr/XUtn", token)
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    found = signed("GetItem", body, host, region, credentials, at.strftime("%Y%m%dT%H%M%SZ"))
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at, raising=True)
    theirs = AWSRequest("POST", f"https://{host}/", {"X-Amz-Target": "DynamoDB_20120810.GetItem"}, body)
    SigV4Auth(credentials, "dynamodb", region).add_auth(theirs)
    assert found["authorization"] == theirs.headers["Authorization"]
    assert {found["x-amz-date"], found.get("x-amz-security-token")} == {theirs.headers["X-Amz-Date"], token}


def test_a_request_and_its_answer_are_json(client_of):
    server = Server((200, {"Item": {"pk": {"S": "ü"}}}), (200, {}))
    client = client_of("us-east-1", server.url)
    assert client.call("GetItem", KEY) == {"Item": {"pk": {"S": "ü"}}}
    assert client._make_api_call("GetItem", KEY) == {}  # as PynamoDB asks
    assert server.connections == 1
    line, fields, body = server.requests[0]
    assert (line, json.loads(body)) == ("POST / HTTP/1.1", KEY)
    assert fields["host"] == server.url.removeprefix("http://")
    assert (fields["x-amz-target"], fields["content-type"]) == (
        "DynamoDB_20120810.GetItem",
        "application/x-amz-json-1.0",
    )


def test_a_refusal_is_raised_as_botocore_does_and_not_sent_again(client_of):
    item = {"pk": {"S": "a"}}
    server = Server((400, refusal("ConditionalCheckFailedException", Item=item)))
    with pytest.raises(ClientError) as caught:
        client_of("us-east-1", server.url).call("PutItem", KEY)
    told = caught.value.response
    assert told["Error"] == {"Code": "ConditionalCheckFailedException", "Message": "because"}
    assert (told["Item"], told["ResponseMetadata"]["HTTPStatusCode"]) == (item, 400)
    assert told["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == "R"
    assert len(server.requests) == 1


def test_what_is_busy_or_broken_is_asked_again_and_a_transaction_done_once(client_of):
    failures = [(400, refusal("ThrottlingException")), (500, refusal("InternalServerError")), (503, None)]
    for failure in failures:
        server = Server(failure, (200, {"ok": 1}))
        assert client_of("us-east-1", server.url).call("TransactWriteItems", {"TransactItems": []}) == {"ok": 1}
        tokens = {json.loads(body)["ClientRequestToken"] for _, _, body in server.requests}
        assert (len(server.requests), len(tokens)) == (2, 1)
    server = Server(*failures)
    with pytest.raises(ClientError, match="503"):
        client_of("us-east-1", server.url).call("GetItem", KEY)
    assert len(server.requests) == 3


def test_a_connection_that_has_ended_meanwhile_is_not_used(client_of):
    server = Server((200, {"n": 1}), (200, {"n": 2}), ends=True)
    client = client_of("us-east-1", server.url, attempts=1)
    assert client.call("GetItem", KEY) == {"n": 1}
    assert server.closed.wait(5)
    assert client.call("GetItem", KEY) == {"n": 2}
    assert server.connections == 2


def test_what_cannot_be_reached_is_told(client_of):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EndpointConnectionError, match=str(port)):
        client_of("us-east-1", f"http://127.0.0.1:{port}").call("GetItem", KEY)


def test_the_environments_proxy_leads_there(monkeypatch, client_of):
    server = Server((403, None))
    monkeypatch.setenv("HTTPS_PROXY", server.url.replace("://", "://me:p%40ss@"))
    with pytest.raises(EndpointConnectionError, match=r"dynamodb\.eu-west-1\.amazonaws\.com"):
        client_of("eu-west-1", attempts=1).call("GetItem", KEY)
    ((line, fields, _),) = server.requests
    assert line.startswith("CONNECT dynamodb.eu-west-1.amazonaws.com:443 ")
    assert fields["proxy-authorization"] == "Basic bWU6cEBzcw=="


def test_without_credentials_nothing_is_sent(monkeypatch, client_of):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(NoCredentialsError):
        client_of("us-east-1", "http://127.0.0.1:9").call("GetItem", KEY)


@pytest.mark.parametrize(
    ("region", "given", "host"),
    [
        ("eu-west-1", {}, "dynamodb.eu-west-1.amazonaws.com"),
        ("cn-north-1", {}, "dynamodb.cn-north-1.amazonaws.com.cn"),
        ("eu-west-1", {"AWS_ENDPOINT_URL": "http://a:1"}, "a:1"),
        ("eu-west-1", {"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_DYNAMODB": "http://b:2"}, "b:2"),
    ],
)
def test_where_it_is(region, given, host, monkeypatch, client_of):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert client_of(region)._host == host
