"""``edge.toml``: every setting, with a default where one makes sense, and errors that name the key."""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


class ConfigError(Exception):
    """The configuration can't be used; the text says which key, and why."""


@dataclass(frozen=True, slots=True)
class Listen:
    """``udp://host:port`` or ``tcp://host:port``, taken apart."""

    transport: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        parts = urlsplit(text)
        if parts.scheme not in ("udp", "tcp") or not parts.hostname or parts.port is None or parts.path:
            raise ValueError(f"{text!r} is not like udp://203.0.113.11:5060 or tcp://203.0.113.11:5060")
        return cls(parts.scheme, str(ipaddress.IPv4Address(parts.hostname)), parts.port)


def _listen(text: str) -> str:
    Listen.parse(text)
    return text


def _address(text: str) -> str:
    return str(ipaddress.IPv4Address(text))


def _hostport(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not like 203.0.113.11:5070")
    ipaddress.IPv4Address(host)
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is not an http or https URL")
    return text.rstrip("/")


class Config(BaseModel):
    """The settings. Relative paths are relative to the file that names them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,31}$")]
    address: Annotated[str, AfterValidator(_address)]
    listen: Annotated[list[Annotated[str, AfterValidator(_listen)]], Field(min_length=1)]
    mesh: Annotated[str, AfterValidator(_hostport)]
    control: Annotated[list[Annotated[str, AfterValidator(_url)]], Field(min_length=1)]
    key_file: Path
    spare_listen: list[Annotated[str, AfterValidator(_listen)]] = []
    mesh_public: Annotated[str, AfterValidator(_hostport)] | None = None
    control_auth: Literal["none", "aws_iam"] = "none"
    metrics: Annotated[str, AfterValidator(_hostport)] | None = None
    # Phones that know only MD5 (baresip 1.0 is one) may fail when SHA-256 is offered too, even after it.
    digest_algorithms: Annotated[list[Literal["MD5", "SHA-256"]], Field(min_length=1)] = ["MD5"]
    keepalive_interval: Annotated[float, Field(ge=5, le=600)] = 15.0

    @property
    def listens(self) -> list[Listen]:
        return [Listen.parse(text) for text in self.listen]

    @property
    def mesh_seen(self) -> str:
        """Where peers reach the mesh: ``mesh`` unless there is an address translation in front."""
        return self.mesh_public or self.mesh


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            values: dict[str, Any] = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        config = Config(**values)
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(faults)) from error
    if not config.key_file.is_absolute():
        config = config.model_copy(update={"key_file": path.parent / config.key_file})
    return config
