"""The flood of forged sources that other tests send: it arrives, under the names that it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.natlab.conftest import laboratory
from tests.support.natlab import NatLab

ROOT = Path(__file__).parent.parent.parent
_RECEIVER = """
import json, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, 33, 1 << 25)  # SO_RCVBUFFORCE
    sock.bind((sys.argv[1], 5060))
    print(flush=True)
    sock.settimeout(5)
    packets, sources, payloads = 0, set(), set()
    try:
        while True:
            data, source = sock.recvfrom(2000)
            sock.settimeout(1)
            packets += 1
            sources.add(source)
            payloads.add(data.decode())
    except TimeoutError:
        pass
hosts = sorted({host for host, _ in sources})
print(json.dumps({"packets": packets, "sources": len(sources), "hosts": hosts, "payloads": sorted(payloads)}))
"""


@pytest.fixture
def lab() -> Iterator[NatLab]:
    with laboratory(NatLab) as made:
        for where in ("all", "wan"):  # nobody asks whether a source would be reached that way
            made.run("edge-a", "sysctl", "-qw", f"net.ipv4.conf.{where}.rp_filter=0")
        yield made


def test_a_receiver_sees_the_forged_sources(lab):
    receiver, address = lab.ns("edge-a"), lab.host("edge-a").address
    with subprocess.Popen(
        ["ip", "netns", "exec", receiver, sys.executable, "-c", _RECEIVER, address], stdout=subprocess.PIPE, text=True
    ) as receiving:
        assert receiving.stdout is not None
        receiving.stdout.readline()  # it listens
        command = [sys.executable, "-m", "tests.support.raw_udp", address, "5060", "--sources", "198.51.100.0/24"]
        command += ["--different", "1000", "--rate", "2000", "--seconds", "1"]
        sending = subprocess.run(
            ["ip", "netns", "exec", lab.ns("caller"), *command],
            input="OPTIONS", capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        seen = json.loads(receiving.communicate()[0])
    sent = json.loads(sending.stdout)
    assert sent["failed"] == 0
    assert sent["rate"] > 1000
    assert seen["packets"] == sent["packets"]
    assert seen["sources"] == min(1000, sent["packets"])
    assert seen["hosts"][0] == "198.51.100.1"
    assert len(seen["hosts"]) == 254
    assert seen["payloads"] == ["OPTIONS"]
