"""Becoming an edge: a key is made here, a token says which edge it is for, and the configuration is what comes back."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge.config import ConfigError, load
from edge.control.identity import Identity

_SIP, _MESH = 5060, 5070
_TIMEOUT = 15.0  # seconds


class EnrolError(Exception):
    """It isn't an edge now; the text says why and what to do."""


def enrol(api: str, token: str, config: Path) -> str:
    """Make the key beside ``config``, have it registered, and write the configuration; the edge's name. A key that is
    there already is used again. Raises EnrolError, IdentityError, ConfigError."""
    if config.exists():
        raise EnrolError(f"{config} exists already; move it away if this machine is to become another edge")
    config.parent.mkdir(parents=True, exist_ok=True)
    key_file = config.with_suffix(".key")
    public_key = Identity.load_or_make("edge", key_file).public_key
    found = _post(api.rstrip("/") + "/v1/edges/enrol", {"token": token, "public_key": public_key})
    here = _local_address(api)
    config.write_text(_settings(found, key_file, here), encoding="utf-8")
    try:
        load(config)
    except ConfigError:
        config.unlink()
        raise
    return str(found["id"])


def _settings(found: dict[str, Any], key_file: Path, here: str) -> str:
    """As TOML, which JSON's strings and lists of strings are."""
    address = found["addresses"][0]
    host = address if _is_local(address) else here
    values: dict[str, Any] = {
        "id": found["id"],
        "address": address,
        "listen": [f"udp://{host}:{_SIP}", f"tcp://{host}:{_SIP}"],
        "mesh": f"{host}:{_MESH}",
        "control": found["control"],
        "control_auth": found["control_auth"],
        "key_file": key_file.name,
        "metrics": "127.0.0.1:9090",
    }
    if host != address:
        values["mesh_public"] = f"{address}:{_MESH}"
    state = os.environ.get("STATE_DIRECTORY", "")
    if state:
        values["state_dir"] = state
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def _is_local(address: str) -> bool:
    """Whether this machine has the address itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
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


def _post(url: str, body: dict[str, str]) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EnrolError(f"{url!r} isn't the API's URL")
    connection = (
        http.client.HTTPSConnection(parts.hostname, parts.port, timeout=_TIMEOUT, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT)
    )
    try:
        connection.request("POST", parts.path, json.dumps(body), {"Content-Type": "application/json"})
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
