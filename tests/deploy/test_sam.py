"""The real SAM CLI builds and deploys the template to MiniStack; the deployed functions answer at their URLs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import http.server
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as AwsCredentials

from edge.control import client as control
from edge.control.identity import Identity
from lambdas.contract import (
    VERSION,
    ContactField,
    Credentials,
    DecisionEnvelope,
    Heartbeat,
    HeartbeatReply,
    ProvidersReply,
    ProvidersRequest,
    QuestionEnvelope,
    RegisterQuestion,
    RouteQuestion,
)
from lambdas.decisions.digest import ha1
from scripts.processes import Processes, wait_for
from scripts.tables import table_definitions
from tests.support.fleets import fresh_base

pytestmark = pytest.mark.deploy

ROOT = Path(__file__).parent.parent.parent
SAM = ROOT / ".venv" / "tools" / "bin" / "sam"
LINT = ROOT / ".venv" / "tools" / "bin" / "cfn-lint"
STACK = "sipwizard-test"
SLOW = """
import os, time
from lambdas.handlers.decisions import handler
time.sleep(max(0.0, float(os.environ["STARTS_AT"]) - time.time()))
"""
"""A handler whose function isn't there before a certain time."""
OVERRIDES = [
    "ProvisioningConcurrency=0", "Edges=2", "EdgeProgram=https://example.com/sipwizard.tar.gz", f"EdgeProgramDigest={64 * 'a'}", "EdgeAddressA=203.0.113.21", "EdgeAddressB=203.0.113.22",
]  # fmt: skip


def _environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAM_CLI_TELEMETRY": "0",
        **more,
    }


def _sam(*arguments: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(SAM), *arguments], cwd=cwd, env=_environment(**environment), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"sam {' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.parametrize("name", ["template.yaml", "front.yaml"])
def test_template_is_clean(name):
    done = subprocess.run([str(LINT), str(ROOT / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "valid SAM Template" in _sam("validate", "--lint", "--template", str(ROOT / name), cwd=ROOT)


@dataclass
class Deployed:
    endpoint: str
    outputs: dict[str, str]
    built: Path

    def client(self, service: str) -> Any:
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip

    def function(self, part: str) -> str:
        functions = self.client("lambda").list_functions()["Functions"]
        (name,) = [one["FunctionName"] for one in functions if part in one["FunctionName"]]
        return str(name)

    def request(
        self, url: str, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """MiniStack answers function URLs by their Host header."""
        parts = urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        try:
            sent = {"host": urlsplit(url).netloc, "content-type": "application/json", **(headers or {})}
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Copied, built and deployed with nothing changed but the host's architecture and Python, as in a new account, and
    with two edges; their addresses are given since MiniStack makes no Elastic IPs."""
    scratch = tmp_path_factory.mktemp("deploy")
    for name in ("template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, scratch)
    shutil.copytree(ROOT / "lambdas", scratch / "lambdas", ignore=shutil.ignore_patterns("__pycache__"))
    base = fresh_base()
    endpoint = f"http://{base}:4566"
    processes = Processes(scratch / "logs")
    processes.start(
        "ministack",
        [sys.executable, "-m", "ministack"],
        {
            "GATEWAY_PORT": "4566",
            "BIND_HOST": base,
            "MINISTACK_HOST": base,
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "TMPDIR": str(scratch),
            "S3_DATA_DIR": str(scratch / "s3"),
            "AWS_ENDPOINT_URL": endpoint,
        },
    )

    def answers() -> bool:
        connection = http.client.HTTPConnection(base, 4566, timeout=2)
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    try:
        processes.wait_until("ministack", answers, 30)
        architecture = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]
        runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
        overrides = ["--parameter-overrides", f"Architecture={architecture}", f"Runtime={runtime}", *OVERRIDES]
        _sam("build", *overrides, cwd=scratch)
        built = scratch / ".aws-sam/build"
        (built / "DecisionsFunction" / "slow.py").write_text(SLOW)
        _sam("deploy", "--stack-name", STACK, *overrides, cwd=scratch, AWS_ENDPOINT_URL=endpoint)
        made = Deployed(endpoint, {}, built)
        stack = made.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        made.outputs.update({item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])})
        yield made
    finally:
        processes.stop_all()


def test_tables_are_made_as_the_template_says(deployed):
    client = deployed.client("dynamodb")
    wanted = {definition["TableName"]: definition for definition in table_definitions("sipwizard")}
    assert sorted(client.list_tables()["TableNames"]) == sorted(wanted)
    for name, definition in wanted.items():
        table = client.describe_table(TableName=name)["Table"]
        assert table["KeySchema"] == definition["KeySchema"]
        made = {index["IndexName"] for index in table.get("GlobalSecondaryIndexes", [])}
        assert made == {index["IndexName"] for index in definition.get("GlobalSecondaryIndexes", [])}


def test_an_account_that_has_nothing_to_reserve_can_have_it(deployed):
    name = deployed.function("ProvisioningFunction")
    assert "ReservedConcurrentExecutions" not in deployed.client("lambda").get_function_concurrency(FunctionName=name)


def _edge_headers(identity: Identity, path: str, body: str) -> dict[str, str]:
    stamp = f"{time.time():.3f}"
    digest = hashlib.sha256(body.encode()).hexdigest()
    signed = "\n".join(("sipwizard edge request 1", "POST", path, identity.edge, stamp, digest)).encode()
    return {
        "x-edge": identity.edge,
        "x-edge-time": stamp,
        "x-edge-signature": base64.b64encode(identity.key.sign(signed)).decode(),
    }


def _as_edge(deployed: Deployed, identity: Identity, path: str, body: str) -> tuple[int, str]:
    """As an edge asks: signed with its own key, and with SigV4 for AWS_IAM."""
    url = deployed.outputs["DecisionsUrl"].rstrip("/")
    headers = {"content-type": "application/json", **_edge_headers(identity, path, body)}
    request = AWSRequest("POST", url + path, data=body, headers=headers)
    SigV4Auth(AwsCredentials("test", "test"), "lambda", "us-east-1").add_auth(request)
    return deployed.request(url, "POST", path, body, {key.lower(): value for key, value in request.headers.items()})


def _admin_key(deployed: Deployed) -> str:
    return subprocess.run(
        [sys.executable, "-m", "lambdas", "make-key", "--endpoint", deployed.endpoint],
        env=_environment(), capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout.strip()  # fmt: skip


def _api(deployed: Deployed, key: str, method: str, path: str, body: dict, wanted: int = 201) -> dict:
    url = deployed.outputs["ProvisioningUrl"].rstrip("/")
    status, text = deployed.request(url, method, path, json.dumps(body), {"Authorization": f"Bearer {key}"})
    assert status == wanted, text
    return json.loads(text)


def _credentials(method: str, domain: str, password: str) -> Credentials:
    """alice's."""

    def digest(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    ha2 = digest(f"{method}:sip:{domain}")
    return Credentials(
        username="alice", realm=domain, nonce="n", uri=f"sip:{domain}", qop="auth", nc="00000001", cnonce="c",
        response=digest(f"{ha1('MD5', 'alice', domain, password)}:n:00000001:c:auth:{ha2}"),
    )  # fmt: skip


def test_provisioning_and_a_register_decision_through_the_deployed_functions(deployed, tmp_path):
    provisioning = deployed.outputs["ProvisioningUrl"].rstrip("/")
    status, text = deployed.request(provisioning, "GET", "/v1/openapi.json")
    assert status == 200, text
    assert json.loads(text)["info"]["title"] == "sipwizard"
    key = _admin_key(deployed)
    api = partial(_api, deployed, key)
    tenant = api("POST", "/v1/tenants", {"name": "Deployed"})["id"]
    api("POST", "/v1/domains", {"tenant": tenant, "name": "example.com", "default": True})
    password = api("POST", "/v1/accounts", {"username": "alice", "domain": "example.com"})["password"]
    identity = Identity.load_or_make("edge-a", tmp_path / "edge-a.key")
    api("POST", "/v1/edges", {"id": "edge-a", "public_key": identity.public_key, "addresses": ["203.0.113.11"]})

    beat = Heartbeat(
        version=VERSION,
        boot="b1",
        addresses=["203.0.113.11"],
        mesh="203.0.113.11:5070",
        certificate=base64.b64encode(identity.certificate_der).decode(),
    )
    status, text = _as_edge(deployed, identity, "/edge/heartbeat", beat.model_dump_json())
    assert status == 200, text
    reply = HeartbeatReply.model_validate_json(text)
    assert reply.domains == {"example.com": "example.com"}
    (held,) = reply.held

    credentials = partial(_credentials, domain="example.com", password=password)
    question = RegisterQuestion(
        request="r1",
        address="203.0.113.11",
        epoch=held.epoch,
        aor="alice@example.com",
        credentials=credentials("REGISTER"),
        contacts=[ContactField(key="k", uri="sip:alice@10.0.0.9")],
        call_id="c1",
        cseq=1,
        flow=("203.0.113.11", 5060, "udp", "198.51.100.1", 5060, 0),
    )  # fmt: skip
    body = QuestionEnvelope(version=VERSION, question=question).model_dump_json()
    status, text = _as_edge(deployed, identity, "/edge/decisions", body)
    assert status == 200, text
    decision = DecisionEnvelope.model_validate_json(text).decision
    assert decision.kind == "accept"
    assert [binding.contact for binding in decision.bindings] == ["sip:alice@10.0.0.9"]
    stale = body.replace(f'"epoch":{held.epoch}', f'"epoch":{held.epoch - 1}')
    assert _as_edge(deployed, identity, "/edge/decisions", stale)[0] == 409
    # A script runs in either function: on its example where it is published, and for a call.
    script = 'def incoming(call):\n    put("last", call.caller)\n    return then(ring("alice"), reject(486, "Gone"))'
    example = {"caller": "a@b.c", "called": "alice@example.com", "at": "2026-03-02T12:00:00Z", "status": 486}
    plan = {"plan": {"script": script, "examples": [example]}, "publish": True}
    assert api("POST", f"/v1/plans/mine/versions?tenant={tenant}", plan)["published"] == 1
    api("PATCH", "/v1/accounts/alice@example.com", {"plan": "mine"}, 200)
    route = RouteQuestion(
        request="r2",
        address="203.0.113.11",
        epoch=held.epoch,
        method="INVITE",
        caller="alice@example.com",
        called="alice@example.com",
        credentials=credentials("INVITE"),
        call_id="c2",
        flow=question.flow,
    )
    asked = QuestionEnvelope(version=VERSION, question=route).model_dump_json()
    status, text = _as_edge(deployed, identity, "/edge/decisions", asked)
    assert status == 200, text
    routed = DecisionEnvelope.model_validate_json(text).decision
    assert [target.uri for target in routed.targets] == ["sip:alice@10.0.0.9"]
    assert routed.stages[-1].end.reason == "Gone"
    status, text = deployed.request(
        provisioning, "GET", f"/v1/store/last?tenant={tenant}", None, {"Authorization": f"Bearer {key}"}
    )
    assert json.loads(text)["value"] == "alice@example.com"
    # A provider's password is sealed by the one function, and opened by the other for the edge that registers it.
    login = {"tenant": tenant, "name": "voip", "host": "sip.example.net", "username": "4420", "password": "pässword"}
    shown = api("POST", "/v1/providers", login)
    assert shown["registration"]["edge_address"] == "203.0.113.11"
    wanted = ProvidersRequest(version=VERSION, address="203.0.113.11", epoch=held.epoch, ports={"udp": 5060})
    status, text = _as_edge(deployed, identity, "/edge/providers", wanted.model_dump_json())
    assert status == 200, text
    (account,) = ProvidersReply.model_validate_json(text).accounts
    assert account.secret.password == "pässword"
    stored = deployed.client("dynamodb").scan(TableName="sipwizard-directory")["Items"]
    (sealed,) = [item["password"]["S"] for item in stored if "password" in item]
    assert sealed.startswith("kms2:")
    rogue = Identity.load_or_make("edge-a", tmp_path / "rogue.key")
    assert _as_edge(deployed, rogue, "/edge/decisions", body)[0] == 401


_NOTICE = {"tenant": "t1", "hook": "gone", "kind": "ping", "id": "msg_1", "at": 1, "data": {}}
_PUSH = {"tenant": "t1", "aor": "bob@example.com", "binding": "b", "provider": "apns", "prid": "ab" * 32, "at": 1}


@pytest.mark.parametrize(
    ("name", "message"),
    [("HooksQueue", _NOTICE), ("PushQueue", {**_PUSH, "param": "T.x", "why": "call", "call_id": "c", "caller": ""})],
    ids=["hooks", "push"],
)
def test_what_waits_is_taken_by_its_function(deployed, name, message):
    client = deployed.client("sqs")
    (queue,) = [url for url in client.list_queues()["QueueUrls"] if name in url]
    client.send_message(QueueUrl=queue, MessageBody=json.dumps(message))

    def waiting() -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = client.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    wait_for("the message to be taken", lambda: not waiting(), 60)


def test_the_status_page_is_made(deployed):
    made = deployed.client("lambda").invoke(FunctionName=deployed.function("StatusFunction"), Payload=b"{}")
    assert "FunctionError" not in made, made["Payload"].read()
    store = deployed.client("s3")
    (bucket,) = [one["Name"] for one in store.list_buckets()["Buckets"] if "status" in one["Name"].lower()]
    page = store.get_object(Bucket=bucket, Key="index.html")
    assert page["ContentType"] == "text/html; charset=utf-8"
    assert b"Nothing has been measured yet" in page["Body"].read()
    assert json.loads(store.get_object(Bucket=bucket, Key="status.json")["Body"].read())["incidents"] == []


def test_the_stack_starts_edges_and_knows_them_by_their_roles(deployed, tmp_path):
    """MiniStack starts no machines and tells functions nothing of the caller, so the instance's question is put to the
    deployed function as Lambda would put it."""
    assert deployed.outputs["EdgeAddresses"].split() == ["203.0.113.21", "203.0.113.22"]
    groups = deployed.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert [(group["MinSize"], group["MaxSize"]) for group in groups] == [(1, 1)] * 2
    client = deployed.client("ec2")
    for group in groups:
        found = client.describe_launch_template_versions(
            LaunchTemplateId=group["LaunchTemplate"]["LaunchTemplateId"], Versions=["$Latest"]
        )["LaunchTemplateVersions"]
        data = found[0]["LaunchTemplateData"]
        script = base64.b64decode(data["UserData"]).decode()
        assert f"--instance --api '{deployed.outputs['DecisionsUrl']}'" in script
        assert (
            "curl --proto '=https' --tlsv1.2 -fsSL -o program.tar.gz 'https://example.com/sipwizard.tar.gz'" in script
        )
        assert f"echo '{64 * 'a'}  program.tar.gz' | sha256sum --check" in script
        assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] in (True, "true")
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    roles = {
        name: role["RoleName"]
        for role in deployed.client("iam").list_roles()["Roles"]
        for name in ("EdgeARole", "EdgeBRole")
        if name in role["RoleName"]
    }
    allowed = deployed.outputs["EdgePolicy"]
    for role in roles.values():
        attached = deployed.client("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        assert [policy["PolicyArn"] for policy in attached] == [allowed]
    key = Identity.load_or_make("us-east-1-b", tmp_path / "edge.key").public_key
    caller = f"arn:aws:sts::000000000000:assumed-role/{roles['EdgeBRole']}/i-0123"
    status, answer = _enrol_as(deployed, caller, key)
    assert status == 201, answer
    assert (answer["id"], answer["addresses"]) == ("us-east-1-b", ["203.0.113.22", "203.0.113.21"])
    assert answer["control"] == [deployed.outputs["DecisionsUrl"].rstrip("/")]
    other = Identity.load_or_make("us-east-1-b", tmp_path / "other.key").public_key
    assert _enrol_as(deployed, caller, key)[0] == 201  # the answer may have been lost
    assert _enrol_as(deployed, caller, other)[0] == 409
    assert _enrol_as(deployed, caller.replace("i-0123", "i-0456"), other)[0] == 201
    assert _enrol_as(deployed, caller, key)[0] == 409  # its time is over
    for stranger in ("", "arn:aws:iam::000000000000:user/eve", caller.replace("Role", "Role2")):
        assert _enrol_as(deployed, stranger, key)[0] == 403


def _enrol_as(deployed: Deployed, caller: str, key: str) -> tuple[int, dict[str, Any]]:
    event = {
        "version": "2.0",
        "rawPath": "/edge/enrol",
        "rawQueryString": "",
        "headers": {
            "host": urlsplit(deployed.outputs["DecisionsUrl"]).netloc,
            "x-forwarded-proto": urlsplit(deployed.outputs["DecisionsUrl"]).scheme,
            "content-type": "application/json",
        },
        "requestContext": {
            "authorizer": {"iam": {"userArn": caller}},
            "http": {"method": "POST", "path": "/edge/enrol", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
        },
        "body": json.dumps({"public_key": key}),
        "isBase64Encoded": False,
    }
    done = deployed.client("lambda").invoke(
        FunctionName=deployed.function("DecisionsFunction"), Payload=json.dumps(event).encode()
    )
    answer = json.loads(done["Payload"].read())
    body = base64.b64decode(answer["body"]) if answer["isBase64Encoded"] else answer["body"]
    return answer["statusCode"], json.loads(body)


def test_packages_are_small(deployed):
    limits = (
        ("Certificates", 33),
        ("Decisions", 40),
        ("Provisioning", 46),
        ("Hooks", 35),
        ("Push", 36),
        ("Status", 33),
    )
    for function, most in limits:
        files = [path for path in (deployed.built / f"{function}Function").rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 2**20
        assert size <= most, f"{function}: {size:.1f} MB"
        assert [path.name for path in files if path.suffix == ".py" and not _has_bytecode(path)] in ([], ["slow.py"])


def _has_bytecode(path: Path) -> bool:
    return (path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc").exists()


def test_no_question_fails_while_a_function_starts(deployed, tmp_path, monkeypatch):
    """An edge that has just started asks a function that isn't warm, for registrations and a call."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    place, resolve = urlsplit(deployed.endpoint).hostname, socket.getaddrinfo

    def at_ministack(host: Any, *more: Any, **named: Any) -> Any:
        return resolve(place if ".lambda-url." in str(host) else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", at_ministack)
    api = partial(_api, deployed, _admin_key(deployed))
    tenant = api("POST", "/v1/tenants", {"name": "Cold"})["id"]
    api("POST", "/v1/domains", {"tenant": tenant, "name": "cold.example"})
    password = api("POST", "/v1/accounts", {"username": "alice", "domain": "cold.example"})["password"]
    identity = Identity.load_or_make("edge-c", tmp_path / "edge-c.key")
    api("POST", "/v1/edges", {"id": "edge-c", "public_key": identity.public_key, "addresses": ["203.0.113.31"]})
    certificate = base64.b64encode(identity.certificate_der).decode()
    address = {"addresses": ["203.0.113.31"], "mesh": "203.0.113.31:5070", "certificate": certificate}
    beat = Heartbeat(version=VERSION, boot="b1", **address)
    status, text = _as_edge(deployed, identity, "/edge/heartbeat", beat.model_dump_json())
    assert status == 200, text
    (held,) = HeartbeatReply.model_validate_json(text).held
    about = {
        "address": "203.0.113.31",
        "epoch": held.epoch,
        "call_id": "c1",
        "flow": ("203.0.113.31", 5060, "udp", "198.51.100.1", 5060, 0),
    }

    def register(number: int) -> RegisterQuestion:
        return RegisterQuestion(
            request=f"r{number}", aor="alice@cold.example", cseq=number,
            credentials=_credentials("REGISTER", "cold.example", password),
            contacts=[ContactField(key="k", uri="sip:alice@10.0.0.9")], **about,
        )  # fmt: skip

    invite = RouteQuestion(
        request="i1", method="INVITE", caller="alice@cold.example", called="alice@cold.example",
        credentials=_credentials("INVITE", "cold.example", password), **about,
    )  # fmt: skip
    asked = [(1.0, register(1)), (3.0, register(2)), (6.0, register(3)), (6.0, invite)]
    for delay, question in asked:
        starts_at = time.time() + delay + 1  # which the change of the function takes
        _start_at(deployed, starts_at)
        decision = asyncio.run(_asked(deployed, identity, question))
        assert time.time() >= starts_at
        assert decision is not None, f"no answer by a function that takes {delay} s to start"
        assert decision.kind == ("route" if question is invite else "accept")


async def _asked(deployed: Deployed, identity: Identity, question: RegisterQuestion | RouteQuestion) -> Any:
    """The decision, as an edge has it that has just started."""
    url = f"{deployed.outputs['DecisionsUrl'].rstrip('/')}:{urlsplit(deployed.endpoint).port}"
    client = control.ControlClient(identity, [url.replace("https://", "http://")], "aws_iam")
    try:
        return await client.ask(question)
    finally:
        client.close()


def _start_at(deployed: Deployed, when: float) -> None:
    """No function is warm, and none starts before ``when``."""
    functions, name = deployed.client("lambda"), deployed.function("DecisionsFunction")
    known = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    functions.update_function_configuration(
        FunctionName=name,
        Handler="slow.handler",
        Environment={"Variables": known | {"STARTS_AT": str(when)}},
    )
    functions.get_waiter("function_updated_v2").wait(FunctionName=name)


def test_deleting_the_stack_takes_the_status_page_away_first(deployed):
    """MiniStack's stacks delete a bucket whatever is in it, so the function is also asked as CloudFormation asks it."""
    answers: list[dict[str, Any]] = []

    class Answered(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            answers.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    store, formation = deployed.client("s3"), deployed.client("cloudformation")
    (bucket,) = [one["Name"] for one in store.list_buckets()["Buckets"] if "status" in one["Name"].lower()]
    for key in ("index.html", "status.json"):
        store.put_object(Bucket=bucket, Key=key, Body=b"x")
    with http.server.HTTPServer((fresh_base(), 0), Answered) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = {"StackId": "s", "RequestId": "r", "LogicalResourceId": "StatusBucketContent", "RequestType": "Delete"}
        asked["ResponseURL"] = f"http://{server.server_address[0]}:{server.server_port}/"
        event = {**asked, "ResourceProperties": {"Bucket": bucket}}
        done = deployed.client("lambda").invoke(
            FunctionName=deployed.function("EmptyingFunction"), Payload=json.dumps(event).encode()
        )
        server.shutdown()
    assert "FunctionError" not in done, done["Payload"].read()
    assert [answer["Status"] for answer in answers] == ["SUCCESS"]
    assert store.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    (stack,) = [one["StackId"] for one in formation.describe_stacks(StackName=STACK)["Stacks"]]
    formation.delete_stack(StackName=STACK)

    def gone() -> bool:
        status = str(formation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
        assert "FAILED" not in status
        return status == "DELETE_COMPLETE"

    wait_for("the stack to be deleted", gone, 60)
    events = formation.describe_stack_events(StackName=stack)["StackEvents"]
    ended = [one["LogicalResourceId"] for one in events if one["ResourceStatus"] == "DELETE_COMPLETE"][::-1]
    order = [ended.index(name) for name in ("StatusFunction", "StatusBucketContent", "StatusBucket")]
    assert order == sorted(order)
