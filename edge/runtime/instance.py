"""What an EC2 instance can be asked about itself: its network interface (IMDSv2)."""

from __future__ import annotations

import http.client
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_TIMEOUT = 5.0  # seconds
_SECONDS = "60"  # for which the session is good


class InstanceError(Exception):
    """This isn't an EC2 instance, or it won't say what it is."""


@dataclass(frozen=True, slots=True)
class Interface:
    """``name`` like eni-0123456789abcdef0; ``addresses`` are the private ones, the primary first; ``device`` is what
    this machine calls it, "" if it has none such."""

    name: str
    addresses: tuple[str, ...]
    device: str = ""


def interface() -> Interface:
    """The first network interface. Raises InstanceError."""
    endpoint = urlsplit(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254"))
    connection = http.client.HTTPConnection(endpoint.hostname or "", endpoint.port, timeout=_TIMEOUT)

    def ask(method: str, path: str, headers: dict[str, str]) -> str:
        connection.request(method, f"/latest/{path}", headers=headers)
        reply = connection.getresponse()
        text = reply.read().decode("utf-8", "replace")
        if reply.status != 200:
            raise InstanceError(f"the instance's metadata has no {path} ({reply.status})")
        return text.strip()

    try:
        token = ask("PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": _SECONDS})
        known = {"X-aws-ec2-metadata-token": token}
        mac = ask("GET", "meta-data/mac", known)
        here = f"meta-data/network/interfaces/macs/{mac}"
        return Interface(
            ask("GET", f"{here}/interface-id", known),
            tuple(ask("GET", f"{here}/local-ipv4s", known).split()),
            _device(mac),
        )
    except (OSError, http.client.HTTPException) as error:
        raise InstanceError(f"this doesn't seem to be an EC2 instance: {error}") from error
    finally:
        connection.close()


def _device(mac: str) -> str:
    for name in Path("/sys/class/net").glob("*/address"):
        if name.read_text().strip().lower() == mac.lower():
            return name.parent.name
    return ""
