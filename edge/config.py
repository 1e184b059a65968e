"""``edge.toml``: every setting, with a default where one makes sense, and errors that name the key."""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge.sip.uri import host_in_uri

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")
_TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")


class ConfigError(Exception):
    """The configuration can't be used; the text says which key, and why."""


@dataclass(frozen=True, slots=True)
class Listen:
    """``udp://host:port`` and the like, taken apart; ``host`` is an IP address, without brackets."""

    transport: str
    host: str
    port: int

    @property
    def ipv6(self) -> bool:
        return ":" in self.host

    @classmethod
    def parse(cls, text: str) -> Listen:
        parts = urlsplit(text)
        if parts.scheme not in _TRANSPORTS or not parts.hostname or not parts.port or parts.path:
            raise ValueError(f"{text!r} is not like udp://203.0.113.11:5060 or tls://[2001:db8::11]:5061")
        return cls(parts.scheme, str(ipaddress.ip_address(parts.hostname)), parts.port)


def _listen(text: str) -> str:
    Listen.parse(text)
    return text


def _address(text: str) -> str:
    return str(ipaddress.IPv4Address(text))


def _address6(text: str) -> str:
    return str(ipaddress.IPv6Address(text))


def _hostport(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not like 203.0.113.11:5070")
    ipaddress.IPv4Address(host)
    return text


def _name(text: str) -> str:
    if not text or not _NAME.issuperset(text):
        raise ValueError(f"{text!r} is not a host name like edge-a.example.net")
    return text.lower().removesuffix(".")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is not an http or https URL")
    return text.rstrip("/")


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if text != "*" and (
        parts.scheme not in ("http", "https") or not parts.netloc or text != text.lower() or parts.path
    ):
        raise ValueError(f'{text!r} is not like https://phone.example.com, in small letters, or "*"')
    return text


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


def _metrics(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host.startswith("["):
        return _hostport(text)
    _hostport(f"127.0.0.1:{port}")
    ipaddress.IPv6Address(host.strip("[]"))
    return text


def _nameserver(text: str) -> str:
    host, port = text, ""
    if text.startswith("[") or "." in text:
        host, _, port = text.removeprefix("[").partition("]:" if text.startswith("[") else ":")
    ipaddress.ip_address(host.removesuffix("]"))
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is not like 192.0.2.53, 192.0.2.53:53, 2001:db8::53 or [2001:db8::53]:53")
    return text


def _range(text: str) -> str:
    low, _, high = text.partition("-")
    if not (low.isdecimal() and high.isdecimal() and int(low) >= 1024 and int(low) + 3 <= int(high) < 65536):
        raise ValueError(f"{text!r} is not like 30000-39999")
    return text


def _interface(text: str) -> str:
    parts = text.split("!")
    if len(parts) > 2:
        raise ValueError(f"{text!r} is not like 10.0.0.5!203.0.113.11")
    return "!".join(_address(part) for part in parts)


class CertificateFiles(BaseModel):
    """A certificate in two PEM files: the chain, the server's own first, and its key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chain: Path
    key: Path


class Config(BaseModel):
    """The settings. Relative paths are relative to the file that names them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,31}$")]
    address: Annotated[str, AfterValidator(_address)]
    # Its IPv6 side and its host name, as the control plane has them: what differs is warned of.
    address6: Annotated[str, AfterValidator(_address6)] = ""
    name: Annotated[str, AfterValidator(_name)] = ""
    listen: Annotated[list[Annotated[str, AfterValidator(_listen)]], Field(min_length=1)]
    mesh: Annotated[str, AfterValidator(_hostport)]
    control: Annotated[list[Annotated[str, AfterValidator(_url)]], Field(min_length=1)]
    key_file: Path
    state_dir: Path | None = None
    # Host names by which phones may know edges (outbound proxy), beside those under the domains of accounts.
    names: list[Annotated[str, AfterValidator(_name)]] = []
    # For TLS and WSS: those that the control plane gets ("acme"), or these; the first is for clients that name no host,
    # or one that no certificate is for.
    certificate: Literal["files", "acme"] = "files"
    certificates: list[CertificateFiles] = []
    # Web pages that may have WebSockets, beside those under the domains and names of the service; "*": all.
    origins: list[Annotated[str, AfterValidator(_origin)]] = []
    static_hours: Annotated[float, Field(ge=0, le=24 * 7)] = 24.0
    # How an address of a dead edge gets here; docs/operate.md has each driver's needs.
    takeover: Literal["none", "hook", "ec2", "l2"] = "none"
    takeover_hook: str = ""
    takeover_interface: str = ""
    # With "ec2": what this machine calls that interface; IPv6 sides that EC2 has moved to it are added there.
    takeover_device: str = ""
    spare_listen: list[Annotated[str, AfterValidator(_listen)]] = []
    # Providers may be in these networks, though they are not public; nameservers instead of the system's.
    provider_networks: list[Annotated[str, AfterValidator(_network)]] = []
    # Certificates (PEM) that providers' may be signed by, beside the CAs that the system trusts.
    provider_ca: Path | None = None
    nameservers: list[Annotated[str, AfterValidator(_nameserver)]] = []
    mesh_public: Annotated[str, AfterValidator(_hostport)] | None = None
    # Peers behind an address translation may come from here, besides where the mesh reaches them.
    mesh_networks: list[Annotated[str, AfterValidator(_network)]] = []
    control_auth: Literal["none", "aws_iam"] = "none"
    metrics: Annotated[str, AfterValidator(_metrics)] | None = None
    # Phones that know only MD5 (baresip 1.0 is one) may fail when SHA-256 is offered too, even after it.
    digest_algorithms: Annotated[list[Literal["MD5", "SHA-256"]], Field(min_length=1)] = ["MD5"]
    # Whether media are relayed where they must be, by an rtpengine for each edge address that is here; from these
    # ports; and at this address of the machine, where it isn't the one that listens: LOCAL!ADVERTISED.
    media: Literal["off", "rtpengine"] = "off"
    media_ports: Annotated[str, AfterValidator(_range)] = "30000-39999"
    media_interface: Annotated[str, AfterValidator(_interface)] | None = None
    # Seconds after which a relayed call is ended in which neither end sends anything, though both should.
    media_silence: Annotated[int, Field(ge=30, le=3600)] = 60
    keepalive_interval: Annotated[float, Field(ge=5, le=600)] = 15.0
    # Processes that the edge is: as many as cores that it may use. Sources are divided among them.
    workers: Annotated[int, Field(ge=1, le=16)] = 1
    # UDP phones from here have no NAT before them, and are registered for as long as they ask.
    no_nat_networks: list[Annotated[str, AfterValidator(_network)]] = []

    @property
    def listens(self) -> list[Listen]:
        return [Listen.parse(text) for text in self.listen]

    @property
    def spare_listens(self) -> list[Listen]:
        return [Listen.parse(text) for text in self.spare_listen]

    @property
    def home_host(self) -> str:
        """Where the own edge address is on this machine."""
        return next(at.host for at in self.listens if not at.ipv6)

    @property
    def spares(self) -> list[str]:
        """Where others' edge addresses arrive."""
        return list(dict.fromkeys(at.host for at in self.spare_listens if not at.ipv6))

    def spare_beside(self, host: str) -> str:
        """Where the IPv6 side arrives of an address that arrives at the spare ``host``: the first IPv6 one of
        ``spare_listen`` goes with its first IPv4 one, and so on. "": under its own name."""
        beside = list(dict.fromkeys(at.host for at in self.spare_listens if at.ipv6))
        return dict(zip(self.spares, beside, strict=False)).get(host, "")

    @property
    def media_range(self) -> tuple[int, int]:
        """The first and the last port of ``media_ports``."""
        low, _, high = self.media_ports.partition("-")
        return int(low), int(high)

    @property
    def ports(self) -> dict[str, int]:
        """The edge address's port for each transport."""
        return {at.transport: at.port for at in reversed(self.listens)}

    @property
    def secure(self) -> list[str]:
        """Listeners that need a certificate."""
        return [text for text in (*self.listen, *self.spare_listen) if text.startswith(("tls:", "wss:"))]

    @property
    def own_names(self) -> list[str]:
        """What phones may know edges by besides addresses and domains: also where an address translation leads."""
        return [*self.names, *(host_in_uri(at.host) for at in (*self.listens, *self.spare_listens))]

    @property
    def state(self) -> Path:
        """Where the journal and what survives a restart are kept."""
        return self.state_dir or self.key_file.with_name(f"{self.id}.state")

    @model_validator(mode="after")
    def _is_of_ipv4_too(self) -> Config:
        if all(at.ipv6 for at in self.listens):
            raise ValueError("listen: an edge address is an IPv4 address, so one of them has to be; IPv6 is its side")
        if self.address6 and not any(at.ipv6 for at in self.listens):
            raise ValueError(f"listen: nothing listens at address6; add one like udp://[{self.address6}]:5060")
        return self

    @model_validator(mode="after")
    def _ports_are_apart(self) -> Config:
        """What a flow says of our side is its port and family: on one there can be one kind of streams."""
        seen: dict[tuple[bool, bool, int, str], str] = {}
        for texts, spare in ((self.listen, False), (self.spare_listen, True)):
            for text in texts:
                at = Listen.parse(text)
                place = at.transport == "udp", at.ipv6, at.port, at.host if spare else ""
                if place in seen:
                    raise ValueError(f"listen: {seen[place]} and {text} need a port each")
                seen[place] = text
        return self

    @model_validator(mode="after")
    def _takeover_is_whole(self) -> Config:
        if self.takeover == "hook" and not self.takeover_hook:
            raise ValueError('takeover_hook: a command is needed with takeover = "hook"')
        if self.takeover in ("ec2", "l2") and not self.takeover_interface:
            what = "eni-0123456789abcdef0" if self.takeover == "ec2" else "eth0"
            raise ValueError(f'takeover_interface: needed with takeover = "{self.takeover}", like {what}')
        if self.takeover == "ec2" and not self.spare_listen:
            raise ValueError('spare_listen: needed with takeover = "ec2": a second private address of the interface')
        return self

    @model_validator(mode="after")
    def _workers_can(self) -> Config:
        """What only an edge of one process can do so far."""
        if self.workers == 1:
            return self
        for key, value, only in (
            ("takeover", self.takeover, "none"),
            ("media", self.media, "off"),
            ("certificate", self.certificate, "files"),
        ):
            if value != only:
                raise ValueError(f'workers: with {self.workers} of them {key} can only be "{only}"; use 1')
        return self

    @model_validator(mode="after")
    def _tls_has_certificates(self) -> Config:
        if self.certificate == "acme" and self.certificates:
            raise ValueError('certificates: the control plane gets them with certificate = "acme"; leave one out')
        if self.secure and self.certificate == "files" and not self.certificates:
            raise ValueError(f"certificates: {self.secure[0]} needs one, {{chain = ..., key = ...}}")
        return self

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
    return config.model_copy(update=_beside(config, path.parent))


def _beside(config: Config, directory: Path) -> dict[str, Any]:
    """Paths, from ``directory`` on."""
    return {
        "key_file": directory / config.key_file,
        "state_dir": config.state_dir and directory / config.state_dir,
        "provider_ca": config.provider_ca and directory / config.provider_ca,
        "certificates": [
            CertificateFiles(chain=directory / files.chain, key=directory / files.key) for files in config.certificates
        ],
    }
