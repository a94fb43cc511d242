"""Ways to tell somebody: a mail over SMTP, and a webhook with a signature.

The webhook's headers are those of Standard Webhooks 1.0 (`webhook-id`, `webhook-timestamp`, `webhook-signature`), so
that a receiver can see who sent it, that it is not an old one sent again, and that it has it already.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import smtplib
import ssl
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime

from athanor.console.outside import Unreachable, ask
from athanor.console.settings import MailSettings, SecretError, WebhookSettings, secret

TIMEOUT_S = 15.0
TRY_AGAIN = frozenset({408, 409, 425, 429})
"""Of the answers of a webhook below 500, those after which it is worth trying again."""


class NotSent(Exception):
    """Something did not arrive. `is_final`: and trying again will not help."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


@dataclass(frozen=True)
class Message:
    """What leaves the house."""

    id: str
    """The same for every try, so that who gets it twice can tell."""
    title: str
    text: str
    link: str | None
    what: str
    campaign_id: str | None
    urgent: bool
    since: datetime
    """When it happened."""
    is_again: bool
    """It may have been sent before."""


def mail(settings: MailSettings, to: str, message: Message, now: datetime) -> None:
    """Send a mail. Raises `NotSent`."""
    made = EmailMessage()
    made["From"] = settings.sender
    made["To"] = to
    made["Subject"] = _line(f"{'[urgent] ' if message.urgent else ''}{message.title}")
    made["Date"] = format_datetime(now)
    made["Message-ID"] = f"<{message.id}@{settings.sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    if message.urgent:
        made["Importance"] = "high"
    made.set_content(_words(message))
    try:
        _send(settings, to, made)
    except smtplib.SMTPRecipientsRefused as error:
        code, why = next(iter(error.recipients.values()))
        raise NotSent(f"{to} was refused: {code} {_said(why)}", is_final=500 <= code < 600) from error
    except smtplib.SMTPAuthenticationError as error:
        raise NotSent(f"the mail server does not let {settings.user} in: {error.smtp_code}") from error
    except smtplib.SMTPResponseException as error:
        is_final = 500 <= error.smtp_code < 600
        raise NotSent(f"the mail server: {error.smtp_code} {_said(error.smtp_error)}", is_final=is_final) from error
    except (smtplib.SMTPException, OSError, SecretError) as error:
        raise NotSent(f"the mail server {settings.host}:{settings.port}: {error}") from error


def _send(settings: MailSettings, to: str, made: EmailMessage) -> None:
    authority = None if settings.authority_file is None else str(settings.authority_file)
    context = ssl.create_default_context(cafile=authority)
    host, port = settings.host, settings.port
    us = "[127.0.0.1]"  # looking our own name up may take long, and tells nobody anything
    server: smtplib.SMTP
    if settings.security == "tls":
        server = smtplib.SMTP_SSL(host, port, local_hostname=us, timeout=TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(host, port, local_hostname=us, timeout=TIMEOUT_S)
    with server:
        if settings.security == "starttls":
            server.starttls(context=context)
        if settings.user is not None and settings.password_file is not None:
            server.login(settings.user, secret(settings.password_file))
        server.send_message(made, settings.sender, [to])


def webhook(settings: WebhookSettings, message: Message, now: datetime) -> None:
    """Send to a webhook. Raises `NotSent`."""
    body = json.dumps(
        {
            "id": message.id,
            "what": message.what,
            "title": message.title,
            "text": message.text,
            "link": message.link,
            "campaign_id": message.campaign_id,
            "urgent": message.urgent,
            "since": message.since.isoformat(),
            "is_again": message.is_again,
        }
    ).encode()
    try:
        moment = str(int(now.timestamp()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Athanor",
            "webhook-id": message.id,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{signature(secret(settings.secret_file), message.id, moment, body)}",
        }
        reply = ask("POST", settings.url, headers, body, settings.authority_file)
    except (Unreachable, SecretError) as error:
        raise NotSent(str(error)) from error
    if not 200 <= reply.status < 300:
        is_final = reply.status < 500 and reply.status not in TRY_AGAIN
        raise NotSent(f"the webhook {settings.name} answers {reply.status}", is_final=is_final)


def signature(key: str, identity: str, moment: str, body: bytes) -> str:
    """HMAC-SHA256 over `id.timestamp.body`, in base64. A key that begins with `whsec_` is base64 after that."""
    raw = key.encode()
    if key.startswith("whsec_"):
        try:
            raw = base64.b64decode(key.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise SecretError("the webhook's secret is not base64 after whsec_", "copy it anew") from error
    signed = hmac.new(raw, b".".join([identity.encode(), moment.encode(), body]), hashlib.sha256).digest()
    return base64.b64encode(signed).decode()


def _words(message: Message) -> str:
    lines = [message.title, "", message.text, f"Since {message.since:%Y-%m-%d %H:%M} UTC."]
    if message.link is not None:
        lines += ["", message.link, "The link leads to the page. It decides nothing by itself."]
    if message.is_again:
        lines += ["", "You may have had this message before: the last try was cut off."]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    """One line, whatever a campaign is called."""
    return "".join(c if c.isprintable() else " " for c in text)[:150]


def _said(why: bytes | str) -> str:
    return (why.decode("utf-8", "replace") if isinstance(why, bytes) else why)[:200]
