"""Who an OPC UA client is: its user, and the certificates with which it signs and encrypts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography import x509

from athanor.instruments.protocols.client import library

POLICIES = ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")
CERTIFICATES = frozenset({"certificate", "private_key", "server_certificate"})
OPTIONS = CERTIFICATES | {"user", "password_env", "password_file", "security", "mode"}


class Identity:
    """The options of a controller that say who we are; `name` is the controller's.

    Raises `ValueError` naming an option that is unknown, missing or of no sense.
    """

    def __init__(self, options: Mapping[str, str], name: str) -> None:
        self._options = options
        self._name = name
        given = options.keys()
        if unknown := sorted(given - OPTIONS):
            raise ValueError(f"no such option: {', '.join(unknown)}; there are {', '.join(sorted(OPTIONS))}")
        if ("password_env" in given or "password_file" in given) != ("user" in given):
            raise ValueError("user and its password belong together; give user and password_env or password_file")
        if "security" not in given:
            if stray := sorted(given & {*CERTIFICATES, "mode"}):
                raise ValueError(f"{', '.join(stray)} without security; give security, one of {', '.join(POLICIES)}")
            return
        if options["security"] not in POLICIES:
            raise ValueError(f"security is one of {', '.join(POLICIES)}, not {options['security']!r}")
        if missing := sorted(CERTIFICATES - given):
            raise ValueError(f"security needs {', '.join(missing)}; give the paths")
        if options.get("mode", "Sign") not in ("Sign", "SignAndEncrypt"):
            raise ValueError(f"mode is SignAndEncrypt or Sign, not {options['mode']!r}")

    async def introduce(self, client: Any) -> None:
        """Tell the library's client. Raises `OSError` or `ValueError` when a file or a password is missing."""
        options = self._options
        if "user" in options:
            client.set_user(options["user"])
            client.set_password(self._password())
        if "security" not in options:
            return
        uacrypto = library("asyncua.crypto.uacrypto", "opcua", self._name)
        policies = library("asyncua.crypto.security_policies", "opcua", self._name)
        ua = library("asyncua.ua", "opcua", self._name)
        certificate = await uacrypto.load_certificate(options["certificate"])
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            # A server compares the name a client gives itself with the one in its certificate.
            client.application_uri = names.get_values_for_type(x509.UniformResourceIdentifier)[0]
        except (x509.ExtensionNotFound, IndexError) as error:
            raise ValueError("the certificate names no application URI; make one that does") from error
        await client.set_security(
            getattr(policies, f"SecurityPolicy{options['security']}"),
            options["certificate"],
            options["private_key"],
            server_certificate=options["server_certificate"],
            mode=ua.MessageSecurityMode[options.get("mode", "SignAndEncrypt")],
        )

    def _password(self) -> str:
        if "password_env" in self._options:
            name = self._options["password_env"]
            if name not in os.environ:
                raise ValueError(f"the environment has no {name}; set it to the password")
            return os.environ[name]
        return Path(self._options["password_file"]).expanduser().read_text(encoding="utf-8").rstrip("\n")
