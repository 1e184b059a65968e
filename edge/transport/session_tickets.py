"""TLS sessions that are taken up again at any edge of the fleet (RFC 5077, RFC 8446 §2.2).

Theory of operation. A ticket is the session itself, sealed by the server and kept by the client: whoever has the
sealing key can go on with it. Python's ssl has no way to say which keys those are, so OpenSSL is told past it, by a
callback (``SSL_CTX_set_tlsext_ticket_key_evp_cb``) on the context that Python's object has inside. How such an object
is laid out nobody promises, nor that the library's functions can be reached: ``usable`` tries all of it with two
contexts in memory, in a process of its own, before anything else is done with it. Where it doesn't work each edge has
keys of its own, as OpenSSL makes them, and after a takeover clients shake hands in full.

Tickets name their key. Several are good at one time: the fleet's keys change every day, and a phone's connection, and
so its ticket, is often older than that.
"""

from __future__ import annotations

import _ssl
import ctypes
import logging
import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge.transport.certificates import Certificate, Certificates

log = logging.getLogger(__name__)

LIFE = 7 * 86_400
"""Seconds for which a ticket is good: the most that RFC 8446 §4.6.1 allows."""
KEY = 80
"""Octets of a key: 16 for its name, 32 for HMAC-SHA-256, 32 for AES-256."""

_NAME, _IV = 16, 16  # octets
_REFUSED, _MADE, _RENEWED = 0, 1, 2  # what the callback says; many clients use a ticket once (RFC 8446 §C.4)
_UTF8, _OCTETS = 4, 5  # OSSL_PARAM_UTF8_STRING, OSSL_PARAM_OCTET_STRING
_HEAD = object.__basicsize__  # octets of a Python object before its own fields; an SSLContext's first is its SSL_CTX


class _Parameter(ctypes.Structure):
    """``OSSL_PARAM`` of openssl/core.h."""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("data_type", ctypes.c_uint),
        ("data", ctypes.c_char_p),
        ("data_size", ctypes.c_size_t),
        ("return_size", ctypes.c_size_t),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,  # the connection
    ctypes.c_void_p,  # the key's name, read or written
    ctypes.c_void_p,  # the initialisation vector, read or written
    ctypes.c_void_p,  # the cipher to be set up
    ctypes.c_void_p,  # the MAC to be set up
    ctypes.c_int,  # 1: a ticket is to be made
)


class SessionTickets:
    """The keys, at first one of its own. Contexts that have them (``use_in``) follow every ``replace``."""

    def __init__(self) -> None:
        """Raises OSError or AttributeError where OpenSSL can't be reached."""
        self._keys: dict[bytes, bytes]  # by name
        self._made_by: bytes  # the name of the key for new tickets
        self.replace({0: os.urandom(KEY)}, 0)
        self._openssl = openssl = ctypes.CDLL(_ssl.__file__)  # what the ssl module calls, wherever it has it from
        for function in (openssl.EVP_EncryptInit_ex, openssl.EVP_DecryptInit_ex):
            function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_char_p] * 2
        openssl.EVP_MAC_CTX_set_params.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Parameter)]
        openssl.EVP_aes_256_cbc.restype = ctypes.c_void_p
        openssl.SSL_CTX_set_tlsext_ticket_key_evp_cb.argtypes = [ctypes.c_void_p, _Callback]
        openssl.SSL_CTX_set_timeout.argtypes = [ctypes.c_void_p, ctypes.c_long]
        self._callback = _Callback(self._set_up)

    def replace(self, keys: Mapping[int, bytes], use: int) -> None:
        """From now on these are good (``KEY`` octets each), and new tickets are made with the one of ``use``."""
        self._keys = {key[:_NAME]: key[_NAME:] for key in keys.values()}
        self._made_by = keys[use][:_NAME]

    def use_in(self, context: ssl.SSLContext) -> None:
        """Have the connections that ``context`` begins go by these keys."""
        inside = ctypes.c_void_p.from_address(id(context) + _HEAD)
        self._openssl.SSL_CTX_set_tlsext_ticket_key_evp_cb(inside, self._callback)
        self._openssl.SSL_CTX_set_timeout(inside, LIFE)
        vars(context)["tickets"] = self  # OpenSSL calls back for as long as there is the context, and holds nothing

    def _set_up(self, _: int, name_at: int, iv_at: int, cipher: int, mac: int, making: int) -> int:
        openssl = self._openssl
        name = self._made_by if making else ctypes.string_at(name_at, _NAME)
        key = self._keys.get(name)
        if key is None:
            return _REFUSED
        if making:
            iv = os.urandom(_IV)
            ctypes.memmove(name_at, name, _NAME)
            ctypes.memmove(iv_at, iv, _IV)
        else:
            iv = ctypes.string_at(iv_at, _IV)
        hmac, aes = key[:32], key[32:]
        set_up = openssl.EVP_EncryptInit_ex if making else openssl.EVP_DecryptInit_ex
        parameters = (_Parameter * 3)(
            _Parameter(b"key", _OCTETS, hmac, len(hmac)), _Parameter(b"digest", _UTF8, b"SHA256", 6), _Parameter()
        )
        if not (
            openssl.EVP_MAC_CTX_set_params(mac, parameters) and set_up(cipher, openssl.EVP_aes_256_cbc(), None, aes, iv)
        ):
            return _REFUSED
        return _MADE if making else _RENEWED


def usable() -> SessionTickets | None:
    """One that has been tried: a session begun with one context was taken up by another. None, and a line in the log,
    where that can't be done. To be called before there are threads."""
    child = os.fork()
    if not child:
        os._exit(_try())
    status = os.waitpid(child, 0)[1]
    if status:
        how = f"signal {status}" if os.WIFSIGNALED(status) else "OpenSSL can't be told the keys"
        log.warning("TLS sessions can't be taken up by other edges, whose phones will shake hands anew: %s", how)
        return None
    return SessionTickets()


def _try() -> int:
    """0 if it works."""
    try:
        return not all(_resumes(version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
    except BaseException:
        return 1


def _resumes(version: ssl.TLSVersion) -> bool:
    certificate = _self_signed()
    servers = []
    for use in (1, 2):
        tickets, certificates = SessionTickets(), Certificates()
        tickets.replace({number: bytes([number]) * KEY for number in (1, 2)}, use)
        certificates.replace([certificate])
        tickets.use_in(certificates.context)
        servers.append(certificates.context)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    first = _shake_hands(client, servers[0], None)
    return bool(_shake_hands(client, servers[1], first.session).session_reused)


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLObject:
    """The client's side of a connection in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, session=session)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):  # flights
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    theirs.write(b"x")
    ours.read()  # the tickets of TLS 1.3 come before
    return ours


def _self_signed() -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(made.public_bytes(Encoding.PEM).decode(), private.decode(), ("localhost",))
