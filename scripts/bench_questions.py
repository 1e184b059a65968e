"""``scripts/bench questions``: CPU of an edge's side of a question to the control plane, signed for AWS, by HTTP. Whom
it asks is another process, which gives the same answer each time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from edge.control.client import ControlClient
from edge.control.identity import Identity
from lambdas.contract import VERSION, Credentials, DecisionEnvelope, RegisterQuestion, Reject

_RATE = 30  # questions a second
_AT_ONCE = 10
_ANSWERS = 0.01  # seconds
_REPLY = DecisionEnvelope(version=VERSION, decision=Reject(status=403)).model_dump_json()
_SERVER = f"""
import asyncio
REPLY = b"HTTP/1.1 200 OK\\r\\nContent-Length: {len(_REPLY)}\\r\\n\\r\\n" + {_REPLY.encode()!r}
async def serve(reader, writer):
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\\r\\n")[0]))
        await asyncio.sleep({_ANSWERS})
        writer.write(REPLY)
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def questions(say: Callable[..., None], count: int) -> None:
    """One by one, as they come at an edge with little to do, and ten at once."""
    os.environ.update(AWS_ACCESS_KEY_ID="AKIDBENCH", AWS_SECRET_ACCESS_KEY="bench")  # noqa: S106 - nobody's
    server = subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    try:
        uvloop.run(_asked(say, int(server.stdout.readline()), count))
    finally:
        server.terminate()
        server.wait()


async def _asked(say: Callable[..., None], port: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        identity = Identity.load_or_make("edge-a", Path(directory) / "edge.key")
    control = ControlClient(identity, [f"http://127.0.0.1:{port}"], "aws_iam")
    await _ask(control, 0)
    begun = time.process_time()
    under_way = []
    for number in range(count):
        under_way.append(asyncio.ensure_future(_ask(control, number)))
        await asyncio.sleep(1 / _RATE)
    await asyncio.gather(*under_way)
    say("question", (time.process_time() - begun) / count * 1e6, "µs CPU", rate=_RATE)
    begun = time.process_time()
    for number in range(count):
        await asyncio.gather(*(_ask(control, number) for _ in range(_AT_ONCE)))
    say("question", (time.process_time() - begun) / count / _AT_ONCE * 1e6, "µs CPU of each", at_once=_AT_ONCE)
    control.close()


async def _ask(control: ControlClient, number: int) -> None:
    credentials = Credentials(
        username=f"u{number}", realm="example.com", nonce="0" * 48, uri="sip:example.com", response="0" * 32,
        qop="auth", nc="00000001", cnonce="c1",
    )  # fmt: skip
    question = RegisterQuestion(
        request=f"r{number}", address="203.0.113.11", epoch=1, aor=f"u{number}@example.com", credentials=credentials,
        call_id=f"c{number}@10.0.0.9", cseq=2, flow=("203.0.113.11", 5060, "udp", "198.51.100.1", 1024, 0),
    )  # fmt: skip
    assert await control.ask(question) is not None
