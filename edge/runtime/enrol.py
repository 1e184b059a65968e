"""Becoming an edge: a key is made here, a token (or an instance's role) says which edge it is for, and the
configuration is what comes back."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge.config import ConfigError, load
from edge.control.identity import Identity
from edge.control.sigv4 import Sigv4
from edge.runtime.engine_process import PROGRAM, installed
from edge.runtime.instance import interface

_PORTS = {"udp": 5060, "tcp": 5060}
_SECURE_PORTS = {"tls": 5061, "wss": 443}
_MESH = 5070
_TIMEOUT = 15.0  # seconds
_JSON = {"Content-Type": "application/json"}


class EnrolError(Exception):
    """It isn't an edge now; the text says why and what to do."""


def enrol(api: str, token: str, config: Path) -> str:
    """Make the key beside ``config``, have it registered, and write the configuration; the edge's name. A key that is
    there already is used again. ``api`` is the provisioning API's. Raises EnrolError, IdentityError, ConfigError."""
    public_key = _prepare(config)
    url = api.rstrip("/") + "/v1/edges/enrol"
    found = _post(url, {"token": token, "public_key": public_key}, _JSON)
    address = found["addresses"][0]
    host = address if _is_local(address) else _local_address(api)
    return _write(config, found, host, _local(_side(found)), {})


def enrol_instance(control: str, config: Path) -> str:
    """The same for an EC2 instance, whose role says which edge it is. ``control`` is the decisions' URL. The address
    comes to the interface's first private address, those of other edges to the second. Raises InstanceError too."""
    here = interface()
    if len(here.addresses) < 2:
        raise EnrolError(f"{here.name} has one private address; assign a second one, for addresses of other edges")
    public_key = _prepare(config)
    url, body = control.rstrip("/") + "/edge/enrol", {"public_key": public_key}
    found = _post(url, body, Sigv4().sign(url, _JSON, json.dumps(body).encode(), time.time()))
    more = {
        "takeover": "ec2",
        "takeover_interface": here.name,
        "spare_listen": _listeners(found, [here.addresses[1]]),
    }
    side = _side(found)
    if side:
        more["takeover_device"] = here.device
    return _write(config, found, here.addresses[0], side, more)


def _prepare(config: Path) -> str:
    """Make the key; its public half."""
    if config.exists():
        raise EnrolError(f"{config} exists already; move it away if this machine is to become another edge")
    config.parent.mkdir(parents=True, exist_ok=True)
    return Identity.load_or_make("edge", _key_file(config)).public_key


def _key_file(config: Path) -> Path:
    return config.with_suffix(".key")


def _place(found: dict[str, Any]) -> dict[str, str]:
    """What is told of the own address."""
    return next((place for place in found["places"] if place["address"] == found["addresses"][0]), {})


def _side(found: dict[str, Any]) -> str:
    """The own address's IPv6 side; "" if it has none."""
    return _place(found).get("address6", "")


def _local(address6: str) -> str:
    """``address6`` if this machine has it already; else "": the edge couldn't listen there, and will say so."""
    return address6 if address6 and _is_local(address6) else ""


def _acme(found: dict[str, Any]) -> bool:
    """Whether the control plane gets certificates; older ones don't say."""
    return bool(found.get("certificate") == "acme")


def _listeners(found: dict[str, Any], hosts: list[str]) -> list[str]:
    """By TLS and WSS too, where there are certificates for them without anybody's care."""
    ports = _PORTS | (_SECURE_PORTS if _acme(found) else {})
    return [f"{transport}://{host}:{port}" for host in hosts for transport, port in ports.items()]


def _write(config: Path, found: dict[str, Any], host: str, host6: str, more: dict[str, Any]) -> str:
    """Write the configuration as TOML, which JSON's strings and lists of strings are; the edge's name."""
    address = found["addresses"][0]
    hosts = [host, *([f"[{host6}]"] if host6 else [])]
    values: dict[str, Any] = {
        "id": found["id"],
        "address": address,
        "listen": _listeners(found, hosts),
        "mesh": f"{host}:{_MESH}",
        "control": found["control"],
        "control_auth": found["control_auth"],
        "key_file": _key_file(config).name,
        "metrics": "127.0.0.1:9090",
        **more,
    }
    if _acme(found):
        values["certificate"] = "acme"
    if installed():
        values["media"] = PROGRAM
    if host6:
        values["address6"] = host6
    if _place(found).get("name"):
        values["name"] = _place(found)["name"]
    if host != address:
        values["mesh_public"] = f"{address}:{_MESH}"
    state = os.environ.get("STATE_DIRECTORY", "")
    if state:
        values["state_dir"] = state
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()), encoding="utf-8")
    try:
        load(config)
    except ConfigError:
        config.unlink()
        raise
    return str(found["id"])


def _is_local(address: str) -> bool:
    """Whether this machine has the address itself."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _local_address(api: str) -> str:
    """The address that this machine has where it faces the API."""
    parts = urlsplit(api)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((parts.hostname or "", port))
        except OSError as error:
            raise EnrolError(f"{api} can't be reached: {error.strerror or error}") from error
        return str(probe.getsockname()[0])


def _post(url: str, body: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EnrolError(f"{url!r} isn't the API's URL")
    connection = (
        http.client.HTTPSConnection(parts.hostname, parts.port, timeout=_TIMEOUT, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT)
    )
    try:
        connection.request("POST", parts.path, json.dumps(body), headers)
        reply = connection.getresponse()
        text = reply.read().decode("utf-8", "replace")
        answer = json.loads(text)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EnrolError(f"{url} gives no answer that can be read: {error}") from error
    finally:
        connection.close()
    if reply.status != 201:
        raise EnrolError(f"the control plane says no: {answer.get('detail', text)}")
    return dict(answer)
