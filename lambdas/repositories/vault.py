"""Secrets at rest (providers' passwords, the keys of webhooks and certificates): sealed by a KMS key, or by a key in a
file where there is no KMS.

What is sealed can be opened for the same owner only, and as the same kind of secret: one tenant's ciphertext is of no
use as another's, and who may open those of webhooks can't open passwords. Those of before (``kms:``, ``file:``) don't
say of what kind they are.
"""

from __future__ import annotations

import base64
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lambdas.repositories.clients import client

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

_NONCE = 12

SecretKind = Literal["provider", "hook", "certificate", "acme"]


class Unsealed(Exception):
    """A secret can't be sealed or opened; the text says what is missing."""


class Vault:
    """``SECRETS_KEY_ID`` names a KMS key, ``SECRETS_KEY_FILE`` a file of 32 octets in base64."""

    def __init__(self) -> None:
        self._key_id = os.environ.get("SECRETS_KEY_ID", "")
        self._key_file = os.environ.get("SECRETS_KEY_FILE", "")

    def prepare(self) -> None:
        """Make the client, if there is one."""
        if self._key_id:
            self._kms  # noqa: B018

    def seal(self, kind: SecretKind, owner: str, text: str) -> str:
        """Raises Unsealed if there is no key."""
        if self._key_id:
            context = {"owner": owner, "kind": kind}
            reply = self._kms.encrypt(KeyId=self._key_id, Plaintext=text.encode(), EncryptionContext=context)
            return "kms2:" + base64.b64encode(reply["CiphertextBlob"]).decode()
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, text.encode(), f"{kind} {owner}".encode())
        return "file2:" + base64.b64encode(nonce + sealed).decode()

    def open(self, kind: SecretKind, owner: str, sealed: str) -> str:
        """Raises Unsealed if it was sealed for somebody else, as something else, or by another key."""
        scheme, _, data = sealed.partition(":")
        raw = base64.b64decode(data)
        try:
            if scheme in ("kms", "kms2"):
                context = {"owner": owner} | ({"kind": kind} if scheme == "kms2" else {})
                return self._kms.decrypt(CiphertextBlob=raw, EncryptionContext=context)["Plaintext"].decode()
            about = f"{kind} {owner}" if scheme == "file2" else owner
            return self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], about.encode()).decode()
        except (InvalidTag, ClientError) as error:
            raise Unsealed(f"the secret of {owner} can't be opened: {type(error).__name__}") from error

    @cached_property
    def _kms(self) -> KMSClient:
        made: KMSClient = client("kms")
        return made

    @cached_property
    def _cipher(self) -> AESGCM:
        if not self._key_file:
            raise Unsealed("Neither SECRETS_KEY_ID nor SECRETS_KEY_FILE is set; passwords can't be kept without a key.")
        try:
            return AESGCM(base64.b64decode(Path(self._key_file).read_text()))
        except (OSError, ValueError) as error:
            raise Unsealed(f"SECRETS_KEY_FILE {self._key_file} has no key of 32 octets in base64: {error}") from error
