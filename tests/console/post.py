"""A mail server and a webhook on loopback, which say what they are told to say and keep what they were sent."""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that nobody knows, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "cert.pem", folder / "key.pem"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@dataclass
class Post:
    """A mail server. `says`: what it answers to a recipient, the first first; then it takes everything."""

    says: list[str] = field(default_factory=list)
    user: str | None = None
    password: str | None = None
    context: ssl.SSLContext | None = None
    is_tls_at_once: bool = False
    taken: list[Message] = field(default_factory=list)
    was_safe: list[bool] = field(default_factory=list)
    tries: int = 0
    port: int = 0

    def to(self, address: str) -> list[str]:
        """Subjects of what somebody was sent."""
        return [str(mail["Subject"]) for mail in self.taken if mail["To"] == address]


class Talk(socketserver.StreamRequestHandler):
    post: Post
    timeout = 10

    def setup(self) -> None:
        if self.post.is_tls_at_once and self.post.context is not None:
            self.request = self.post.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def finish(self) -> None:
        super().finish()
        self.request.close()  # one that was wrapped is not what the server would close

    def handle(self) -> None:
        post, is_safe, is_in = self.post, self.post.is_tls_at_once, self.post.user is None
        self.say("220 here")
        while line := self.rfile.readline().decode().strip():
            verb = line.split(":")[0].split(" ")[0].upper()
            if verb == "EHLO":
                offers = ["250-here"]
                if post.context is not None and not is_safe:
                    offers.append("250-STARTTLS")
                if post.user is not None:
                    offers.append("250-AUTH PLAIN")
                self.say("\r\n".join([*offers, "250 8BITMIME"]))
            elif verb == "STARTTLS" and post.context is not None:
                self.say("220 go on")
                self.request = post.context.wrap_socket(self.request, server_side=True)
                self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", 0)
                is_safe = True
            elif verb == "AUTH":
                given = base64.b64decode(line.split(" ")[2]).split(b"\0")[1:]
                is_in = given == [str(post.user).encode(), str(post.password).encode()]
                self.say("235 welcome" if is_in else "535 no")
            elif verb == "RCPT":
                post.tries += 1
                self.say((post.says.pop(0) if post.says else "250 yes") if is_in else "530 who are you?")
            elif verb == "DATA":
                self.say("354 go on")
                lines = []
                while (part := self.rfile.readline()) != b".\r\n":
                    lines.append(part.removeprefix(b".") if part.startswith(b"..") else part)
                post.was_safe.append(is_safe)
                post.taken.append(message_from_bytes(b"".join(lines).replace(b"\r\n", b"\n"), policy=default))
                self.say("250 taken")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 yes")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none."""


@contextlib.contextmanager
def running(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def posting(post: Post) -> Iterator[Post]:
    with running(Server(("127.0.0.1", 0), type("Bound", (Talk,), {"post": post}))) as post.port:
        yield post


@dataclass
class Hook:
    """A webhook. `says`: what it answers, the first first; then 204."""

    says: list[int] = field(default_factory=list)
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0


class Taking(BaseHTTPRequestHandler):
    hook: Hook

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hook.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.hook.says.pop(0) if self.hook.says else 204)
        self.send_header("Content-Length", "0")
        self.send_header("Location", f"http://127.0.0.1:{self.hook.port}/elsewhere")
        self.end_headers()


@contextlib.contextmanager
def hooking(hook: Hook) -> Iterator[Hook]:
    with running(ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Taking,), {"hook": hook}))) as hook.port:
        yield hook
