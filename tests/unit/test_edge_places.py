"""Which sockets an edge opens for the two sides of its own address and of others', and what it has moved there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge.config import Config, load
from edge.control import drivers
from edge.control.holdings import Gained, Holdings, Lost, Place
from edge.runtime import enrol
from edge.runtime.addresses import AddressMover
from edge.runtime.instance import Interface, _device
from edge.runtime.own_place import OwnPlace
from edge.transport.resolver import _hostport
from lambdas.contract import EdgePlace, FleetEdge, HeartbeatReply, HeldAddress

A, B = "203.0.113.11", "203.0.113.12"
A6, B6 = "2001:db8::11", "2001:db8::12"
PLACES = [EdgePlace(address=A, address6=A6), EdgePlace(address=B, address6=B6)]
CONFIG = {
    "id": "edge-a",
    "address": A,
    "address6": A6,
    "name": "Edge-A.Example.net.",
    "listen": [f"udp://{A}:5060", f"tcp://{A}:5060", f"udp://[{A6}]:5060", f"tls://[{A6}]:5061"],
    "certificates": [{"chain": "edge-a.pem", "key": "edge-a-tls.key"}],
    "mesh": f"{A}:5070",
    "control": ["http://203.0.113.30:8080"],
    "key_file": "edge-a.key",
    "takeover": "hook",
    "takeover_hook": "true",
}


def config(**values) -> Config:
    """As CONFIG, but for ``values``; without what is ""."""
    return Config.model_validate({name: value for name, value in {**CONFIG, **values}.items() if value != ""})


def reply(*addresses: str, placed: bool = True, places=PLACES) -> HeartbeatReply:
    held = [HeldAddress(address=address, epoch=5, seconds=10, placed=placed) for address in addresses]
    return HeartbeatReply(
        version=9,
        held=held,
        fleet=[FleetEdge(id="edge-a", mesh="", certificate="", held=held)],
        addresses=[A, B],
        places=places,
        keys=[],
        domains_version="",
        allowed=[A, B],
    )


class Sockets:
    def __init__(self) -> None:
        self.opened: list[str] = []
        self.left: list[str] = []

    async def open(self, listeners) -> None:
        self.opened += [f"{at.transport} {at.host} {at.port} for {at.address}" for at in listeners]

    def stop_accepting(self, address: str) -> None:
        pass

    def leave(self, address: str) -> None:
        self.left.append(address)


def carried_out(config: Config, steps, monkeypatch) -> Sockets:
    """What a mover does for ``steps``."""
    monkeypatch.setattr("edge.runtime.addresses._LAST_WORDS", 0.0)

    async def run() -> Sockets:
        sockets = Sockets()
        holdings = Holdings(config.address, config.home_host, config.takeover, config.spares)
        mover = AddressMover(config, holdings, sockets, lambda address, epoch: None, lambda: None)
        mover.follow(steps)
        await asyncio.gather(*mover._moving.values())
        await mover.close()
        return sockets

    return asyncio.run(run())


def test_the_own_address_is_where_the_file_says(monkeypatch):
    opened = carried_out(config(), [Gained(A, 5, A, A6)], monkeypatch).opened
    assert opened == [
        f"udp {A} 5060 for {A}",
        f"tcp {A} 5060 for {A}",
        f"udp {A6} 5060 for {A}",
        f"tls {A6} 5061 for {A}",
    ]


@pytest.mark.parametrize(
    ("values", "host", "sides"),
    [
        ({}, "", {(B, 5060), (B6, 5060), (B6, 5061)}),
        # One that doesn't listen on IPv6 itself takes the same there.
        ({"address6": "", "listen": [f"udp://{A}:5062"]}, "", {(B, 5062), (B6, 5062)}),
        # Behind an address translation: one of its own for IPv4, and for IPv6 if there is one too.
        ({"spare_listen": ["udp://10.0.0.2:5060"]}, "10.0.0.2", {("10.0.0.2", 5060), (B6, 5060), (B6, 5061)}),
        (
            {"spare_listen": ["udp://10.0.0.2:5060", "udp://[fd00::2]:5060", "tls://[fd00::2]:5061"]},
            "10.0.0.2",
            {("10.0.0.2", 5060), ("fd00::2", 5060), ("fd00::2", 5061)},
        ),
    ],
)
def test_both_sides_of_another_address_are_opened(values, host, sides, monkeypatch):
    opened = carried_out(config(**values), [Gained(B, 7, host, B6)], monkeypatch).opened
    assert {(at.split()[1], int(at.split()[2])) for at in opened} == sides
    opened = carried_out(config(**values), [Gained(B, 7, host, "")], monkeypatch).opened
    assert {(at.split()[1], int(at.split()[2])) for at in opened} == {side for side in sides if ":" not in side[0]}


def test_the_sides_of_an_address_come_with_every_step():
    holdings = Holdings(A, A, "hook", [])
    holdings.asks((), 0.0)
    steps = holdings.learn(reply(A, placed=False), 0.0, 0.0)
    assert steps == [Place(A, 5, A, A6)]
    assert holdings.moved(A, 5) == [Gained(A, 5, A, A6)]
    assert holdings.again(A) == [Gained(A, 5, A, A6)]
    assert holdings.announced("edge-b", A, 6) == [Lost(A, "edge edge-b holds it now", A6)]


def test_what_was_kept_on_the_disk_is_served_by_both_sides():
    assert Holdings(A, A, "hook", []).resume({A: 5}, 0.0, PLACES) == [Gained(A, 5, A, A6)]


def test_the_hook_is_told_of_both_sides(monkeypatch, tmp_path):
    said = tmp_path / "said"
    hook = f'echo "$SIPWIZARD_ADDRESS $SIPWIZARD_TO $SIPWIZARD_ADDRESS6 $SIPWIZARD_TO6" > {said}'
    spare = {"spare_listen": ["udp://10.0.0.2:5060", "udp://[fd00::2]:5060"]}
    carried_out(config(takeover_hook=hook, **spare), [Place(B, 7, "10.0.0.2", B6)], monkeypatch)
    assert said.read_text().split() == [B, "10.0.0.2", B6, "fd00::2"]
    carried_out(config(takeover_hook=hook), [Place(B, 7, "", B6)], monkeypatch)
    assert said.read_text().split() == [B, B, B6, B6]
    carried_out(config(takeover_hook=hook), [Place(B, 7, "", "")], monkeypatch)
    assert said.read_text().split() == [B, B]


@pytest.mark.parametrize(
    ("values", "added"),
    [
        ({"takeover": "l2", "takeover_interface": "wan"}, [(B, "wan"), (B6, "wan")]),
        (
            {
                "takeover": "ec2",
                "takeover_interface": "eni-0",
                "takeover_device": "ens5",
                "spare_listen": ["udp://10.0.0.2:5060"],
            },
            [(B6, "ens5")],  # EC2's own network knows nothing of what the machine has
        ),
    ],
)
def test_both_sides_are_put_on_the_interface_and_taken_off_again(values, added, monkeypatch):
    done: list[tuple[str, str]] = []

    async def add(address: str, interface: str) -> bool:
        done.append((address, interface))
        return True

    async def remove(address: str, interface: str) -> None:
        done.append((address, interface))

    monkeypatch.setattr(drivers, "add_to_interface", add)
    monkeypatch.setattr(drivers, "remove_from_interface", remove)
    come = Place(B, 7, "", B6) if values["takeover"] == "l2" else Gained(B, 7, "10.0.0.2", B6)
    carried_out(config(**values), [come], monkeypatch)
    assert done == added
    done.clear()
    sockets = carried_out(config(**values), [Lost(B, "it was given up", B6)], monkeypatch)
    assert (done, sockets.left) == (added, [B])


def test_a_name_is_as_names_are_compared():
    assert config().name == "edge-a.example.net"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_nameservers_and_metrics_may_be_at_ipv6(text, where):
    assert config(nameservers=[text]).nameservers == [text]
    assert _hostport(text) == where
    assert config(metrics="[::1]:9090").metrics == "[::1]:9090"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"nameservers": ["[2001:db8::53]:0"]}, "is not like"),
        ({"nameservers": ["dns.example.net"]}, "nameservers"),
        ({"metrics": "::1:9090"}, "metrics"),
        ({"metrics": "[::1]"}, "metrics"),
        ({"mesh": "[2001:db8::1]:5070"}, "mesh"),
        ({"address6": "203.0.113.1"}, "address6"),
        ({"address6": A6, "listen": [f"udp://{A}:5060"]}, "nothing listens at address6"),
        ({"address6": "", "listen": [f"udp://[{A6}]:5060"]}, "an edge address is an IPv4 address"),
        ({"listen": [f"udp://{A}:5060", "sctp://[::1]:5060"]}, "is not like udp://"),
        ({"listen": [f"udp://{A}:5060", "udp://[::1]:0"]}, "is not like udp://"),
        ({"listen": [f"udp://{A}:5060", "udp://::1"]}, "is not like udp://"),
        ({"name": "edge a"}, "host name"),
    ],
)
def test_what_cannot_be_listened_on_is_named(values, why):
    with pytest.raises(ValueError, match=why):
        config(**values)


@pytest.mark.parametrize(
    ("address6", "listens"),
    [
        ("::1", ["udp://127.0.0.1:5060", "tcp://127.0.0.1:5060", "udp://[::1]:5060", "tcp://[::1]:5060"]),
        ("2001:db8::77", ["udp://127.0.0.1:5060", "tcp://127.0.0.1:5060"]),  # this machine hasn't got it yet
    ],
)
def test_who_enrols_listens_at_the_sides_that_it_has(address6, listens, tmp_path, monkeypatch):
    place = {"address": "127.0.0.1", "address6": address6, "name": "edge-a.example.net"}
    answer = {
        "id": "edge-a",
        "addresses": ["127.0.0.1", B],
        "places": [{"address": B, "address6": B6, "name": "b.example.net"}, place],
        "control": ["http://203.0.113.30:8080"],
        "control_auth": "none",
    }
    monkeypatch.setattr(enrol, "_post", lambda *_: answer)
    assert enrol.enrol("http://203.0.113.30:8081", "token", tmp_path / "edge.toml") == "edge-a"
    made = load(tmp_path / "edge.toml")
    assert (made.listen, made.name) == (listens, "edge-a.example.net")
    assert made.address6 == (address6 if len(listens) == 4 else "")


@pytest.mark.parametrize(
    ("values", "place", "why"),
    [
        ({}, {"address6": A6, "name": "edge-a.example.net"}, ""),
        ({"address6": "", "name": "", "listen": [f"udp://{A}:5060"]}, {}, ""),
        ({}, {"name": "edge-a.example.net"}, "its IPv6 side is none, and not 2001:db8::11"),
        ({}, {"address6": A6}, "its name is none, and not edge-a.example.net"),
        ({}, {"address6": A6, "name": "edge-b.example.net"}, "its name is edge-b.example.net"),
        (
            {"address6": "", "listen": [f"udp://{A}:5060"]},
            {"address6": A6},
            "2001:db8::11 is its IPv6 side, and nothing",
        ),
        ({"address6": "", "name": ""}, {}, "it has no IPv6 side, though listen has one"),
    ],
)
def test_an_edge_warns_once_of_what_the_control_plane_knows_otherwise(values, place, why, caplog):
    compared = OwnPlace(config(**values))
    others = [EdgePlace(address=B, address6=B6, name="b.example.net")]
    for _ in range(2):
        compared.compare(reply(A, places=[*others, EdgePlace(address=A, **place)] if place else others))
    assert [why in record.getMessage() for record in caplog.records] == ([True] if why else [])


@pytest.mark.parametrize(
    ("certificate", "ports"),
    [
        ({}, {"udp": 5060, "tcp": 5060}),  # of a control plane that doesn't say
        ({"certificate": "files"}, {"udp": 5060, "tcp": 5060}),
        ({"certificate": "acme"}, {"udp": 5060, "tcp": 5060, "tls": 5061, "wss": 443}),
    ],
)
def test_an_instance_that_enrols_has_what_the_stack_gives_it(certificate, ports, tmp_path, monkeypatch):
    place = {"address": A, "address6": A6, "name": ""}
    answer = {"id": "a", "addresses": [A], "places": [place], "control": ["https://x.test"], "control_auth": "aws_iam"}
    answer |= certificate
    here = Interface("eni-0123456789abcdef0", ("10.0.0.11", "10.0.0.21"), "ens5")
    monkeypatch.setattr(enrol, "_post", lambda *_: answer)
    monkeypatch.setattr(enrol, "interface", lambda: here)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    enrol.enrol_instance("https://x.test", tmp_path / "edge.toml")
    made = load(tmp_path / "edge.toml")
    assert (made.takeover, made.takeover_device, made.address6) == ("ec2", "ens5", A6)
    hosts = ("10.0.0.11", f"[{A6}]")
    assert made.listen == [f"{kind}://{host}:{port}" for host in hosts for kind, port in ports.items()]
    assert made.spare_listen == [f"{kind}://10.0.0.21:{port}" for kind, port in ports.items()]
    assert made.certificate == certificate.get("certificate", "files")


def test_what_the_machine_calls_an_interface_is_found_by_its_address():
    (name, mac), *_ = [
        (path.parent.name, path.read_text().strip())
        for path in Path("/sys/class/net").glob("*/address")
        if path.parent.name != "lo"
    ] or [("lo", "00:00:00:00:00:00")]
    assert _device(mac.upper()) == name
    assert _device("06:00:00:00:00:0f") == ""
