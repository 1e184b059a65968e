"""DynamoDB's protocol: a request is JSON in a signed POST, and so is the answer.

botocore finds the credentials; its client isn't used, since it takes nine times as long for each request
(docs/performance.md): it is made for all services, and looks up in their descriptions what is known here.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import random
import select
import ssl
import time
import uuid
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from lambdas.repositories.clients import session

_CONNECT, _READ = 1.0, 2.0  # seconds
_PAUSE = 0.05  # seconds at most before a request is sent again, twice as long each time
_BUSY = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionInProgressException",
}


class DynamoDB:
    """A client for threads to share. ``endpoint`` is what ``AWS_ENDPOINT_URL_DYNAMODB`` or ``AWS_ENDPOINT_URL`` says
    if it isn't given, or else the Region's; a request is sent up to ``attempts`` times."""

    _request_signer = None
    """PynamoDB looks whether its client has one without credentials."""

    def __init__(self, region: str, endpoint: str = "", attempts: int = 3) -> None:
        self._region = region
        self._endpoint = endpoint or _endpoint(region)
        self._host = urlsplit(self._endpoint).netloc
        self._connections = _Connections(self._endpoint)
        self._attempts = attempts

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request, both as DynamoDB has them on the wire. Raises ClientError for what it refuses,
        EndpointConnectionError if it can't be reached."""
        if operation == "TransactWriteItems":  # what is sent again isn't done again
            request = {"ClientRequestToken": str(uuid.uuid4()), **request}
        body = json.dumps(request).encode()
        for tries in range(1, self._attempts + 1):
            last = tries == self._attempts
            credentials = session().get_credentials()  # known from the first time on, and renewed when they are due
            if credentials is None:
                raise NoCredentialsError
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            headers = signed(operation, body, self._host, self._region, credentials.get_frozen_credentials(), stamp)
            try:
                status, seen, text = self._connections.post(headers, body)
            except (OSError, http.client.HTTPException) as error:
                if last:
                    raise EndpointConnectionError(endpoint_url=self._endpoint, error=error) from error
            else:
                if status == 200:
                    answer: dict[str, Any] = json.loads(text)
                    return answer
                refused = _refused(operation, status, seen, text)
                if last or not (status >= 500 or refused.response["Error"]["Code"] in _BUSY):
                    raise refused
            time.sleep(random.uniform(0.0, _PAUSE * 2**tries))  # noqa: S311
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """End the connections that are idle."""
        self._connections.close()

    # What PynamoDB calls.
    _make_api_call = call


class _Connections:
    """To one endpoint, by the proxy that the environment names, if any. One that is idle is anybody's."""

    def __init__(self, endpoint: str) -> None:
        place = urlsplit(endpoint)
        self._host, self._port = place.hostname or "", place.port
        self._trust: ssl.SSLContext | None = None
        self._proxy = ""
        if place.scheme == "https":
            trusted = session().get_config_variable("ca_bundle") or get_cert_path(True)
            self._trust = ssl.create_default_context(cafile=trusted)
            self._proxy = get_environ_proxies(endpoint).get("https", "")
        self._idle: deque[http.client.HTTPConnection] = deque()

    def post(self, headers: dict[str, str], body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        """(status, header fields, body). Raises OSError, HTTPException."""
        connection = self._take()
        try:
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            text = response.read()
        except BaseException:
            connection.close()
            raise
        if not response.will_close:
            self._idle.append(connection)
        return response.status, response.headers, text

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> http.client.HTTPConnection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._made()
            ended = select.poll()
            ended.register(connection.sock, select.POLLIN)
            if not ended.poll(0):
                return connection
            connection.close()

    def _made(self) -> http.client.HTTPConnection:
        if self._trust is None:
            made = http.client.HTTPConnection(self._host, self._port, _CONNECT)
        elif self._proxy:
            proxy = urlsplit(self._proxy)
            made = http.client.HTTPSConnection(proxy.hostname or "", proxy.port, timeout=_CONNECT, context=self._trust)
            made.set_tunnel(self._host, self._port or 443, _proven(proxy.username, proxy.password))
        else:
            made = http.client.HTTPSConnection(self._host, self._port, timeout=_CONNECT, context=self._trust)
        try:
            made.connect()
        except BaseException:
            made.close()
            raise
        made.sock.settimeout(_READ)
        return made


def _proven(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    pair = b64encode(f"{unquote(user)}:{unquote(password or '')}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {pair}"}


def _endpoint(region: str) -> str:
    given = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or os.environ.get("AWS_ENDPOINT_URL")
    return given or f"https://dynamodb.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def signed(
    operation: str, body: bytes, host: str, region: str, credentials: ReadOnlyCredentials, stamp: str
) -> dict[str, str]:
    """The header fields of a request to ``/``, signed by AWS Signature Version 4. ``stamp`` is like
    ``20260102T030405Z``."""
    signs = {"host": host, "x-amz-date": stamp}
    if credentials.token:
        signs["x-amz-security-token"] = credentials.token
    signs["x-amz-target"] = f"DynamoDB_20120810.{operation}"
    names, fields = ";".join(signs), "".join(f"{name}:{value}\n" for name, value in signs.items())
    request = f"POST\n/\n\n{fields}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/dynamodb/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = _hmac(_day_key(credentials.secret_key, stamp[:8], region), text).hex()
    proof = f"Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**signs, "content-type": "application/x-amz-json-1.0", "authorization": f"AWS4-HMAC-SHA256 {proof}"}


@lru_cache(maxsize=4)
def _day_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for text in (day, region, "dynamodb", "aws4_request"):
        key = _hmac(key, text)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _refused(operation: str, status: int, seen: http.client.HTTPMessage, text: bytes) -> ClientError:
    """As botocore's client raises it."""
    try:
        said = json.loads(text)
    except ValueError:  # from something in between
        said = {}
    code = str(said.pop("__type", status)).rpartition("#")[2]
    message = said.pop("message", None) or said.pop("Message", "")
    about = {"HTTPStatusCode": status, "HTTPHeaders": dict(seen.items())}
    told: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": about, **said}
    return ClientError(told, operation)
