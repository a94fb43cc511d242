"""The two keys. Both are Ed25519 (RFC 8032), kept as PEM files in the folder of keys.

The *gate key* signs decisions; only the gate may read its private half. The *anchor key* signs the heads of the
journal's chains; every process that writes the ledger needs it, and so the two differ:
see `docs/decisions/0002-two-keys.md`.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PublicKey = Ed25519PublicKey


class KeyProblem(Exception):
    """A key cannot be read, made or trusted; the message names the file and the remedy."""


class _Key:
    """A private signing key and its public half."""

    private_name: ClassVar[str]
    public_name: ClassVar[str]

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public: PublicKey = private.public_key()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the key from `folder`.

        Raises:
            KeyProblem: there is none, it cannot be read, or others may read it.
        """
        path = folder / cls.private_name
        try:
            if path.stat().st_mode & 0o077 and cls.private_name == GateKey.private_name:
                raise KeyProblem(f"{path} can be read by others, so anybody could sign as you: chmod 600 {path}")
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except FileNotFoundError as error:
            raise KeyProblem(f"there is no key {path}") from error
        except (OSError, ValueError) as error:
            raise KeyProblem(f"cannot read the key {path}: {error}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyProblem(f"{path} is not an Ed25519 key")
        return cls(private)

    @classmethod
    def load_or_create(cls, folder: Path) -> Self:
        """Read the key from `folder`, or make one (private 0600, public 0644). Safe against two makers at once.

        Raises:
            KeyProblem: the key cannot be read, there is none and the folder cannot be written, or the public half is
            there alone, because another account signs.
        """
        if not (folder / cls.private_name).exists():
            # The private half is placed first, so the public one alone was put there on purpose.
            if (folder / cls.public_name).exists() and not (folder / cls.private_name).exists():
                raise KeyProblem(
                    f"{folder} holds {cls.public_name} without {cls.private_name}: this account may check signatures "
                    "but not make them; use the account that holds the private key"
                )
            fresh = Ed25519PrivateKey.generate()
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _place(folder / cls.private_name, _private_pem(fresh), 0o600, replace=False)
            except OSError as error:
                raise KeyProblem(
                    f"there is no {cls.private_name} in {folder} and it cannot be made ({error.strerror or error}): "
                    "make the folder writable or set ATHANOR_KEYS to one that is"
                ) from error
        key = cls.load(folder)
        if not (folder / cls.public_name).exists():
            try:
                _place(folder / cls.public_name, _public_pem(key.public), 0o644, replace=True)
            except OSError as error:
                raise KeyProblem(f"cannot write {folder / cls.public_name}: {error.strerror or error}") from error
        return key

    def sign(self, text: str) -> str:
        """Return the signature of a text (its UTF-8 bytes) as base64."""
        return base64.b64encode(self._private.sign(text.encode("utf-8"))).decode("ascii")


class GateKey(_Key):
    """Signs decisions. Whoever holds it can let an instrument move."""

    private_name = "gate.key"
    public_name = "gate.pub"


class AnchorKey(_Key):
    """Signs the heads of the journal's chains."""

    private_name = "anchor.key"
    public_name = "anchor.pub"


def load_public(path: Path) -> PublicKey:
    """Read a public key from a PEM file.

    Raises:
        KeyProblem: the file is missing, unreadable, or not an Ed25519 public key.
    """
    try:
        public = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise KeyProblem(f"cannot read the public key {path}: {error}") from error
    if not isinstance(public, Ed25519PublicKey):
        raise KeyProblem(f"{path} is not an Ed25519 public key")
    return public


def verify(public: PublicKey, text: str, signature: str) -> bool:
    """Return whether `signature` (base64) was made over `text` by the holder of `public`'s private half."""
    try:
        public.verify(base64.b64decode(signature, validate=True), text.encode("utf-8"))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


verify_signature = verify


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _place(path: Path, content: bytes, mode: int, *, replace: bool) -> None:
    """Put a whole file in place at once; without `replace`, the first of two makers wins."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if replace:
            fresh.replace(path)
            return
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
    finally:
        fresh.unlink(missing_ok=True)
