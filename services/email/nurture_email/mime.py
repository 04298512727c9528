"""A mail as bytes for SMTP. Pure: the same mail at the same time gives the same bytes.

Signing (DKIM) is the relay's: it knows the domain's key.
"""

from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from nurture_email.rendering import Mail

_POLICY = SMTP.clone(cte_type="7bit")
# A header longer than 78 letters would be cut into encoded words where it has no space, and nobody reads a List-Unsubscribe
# like that. 998 is the longest line there may be.
_UNBROKEN = _POLICY.clone(max_line_length=998)


class NotAnAddress(ValueError):
    """The recipient's address cannot be written in ASCII, which is what every relay takes."""


def message_id(mail: Mail) -> str:
    """Ours, without the angle brackets: the delivery's id, so that a relay's log can be searched for it."""
    return f"{mail.delivery_id}@{_domain(envelope(mail.sender))}"


def envelope(address: str) -> str:
    """The bare address as MAIL and RCPT take it. Raises NotAnAddress."""
    bare = parseaddr(address)[1]
    local, _, domain = bare.rpartition("@")
    try:
        written = f"{local}@{domain if domain.isascii() else domain.encode('idna').decode()}"
    except UnicodeError:
        raise NotAnAddress from None
    if not local or not domain or not written.isascii() or any(ord(letter) < 33 for letter in written):
        raise NotAnAddress
    return written


def encode(mail: Mail, at: datetime) -> bytes:
    """Both parts as alternatives, HTML last, so that it is shown where it can be. `at` is real time. Raises NotAnAddress."""
    message = EmailMessage(_POLICY)
    name = parseaddr(mail.sender)[0]
    message["From"] = _named(name, envelope(mail.sender))
    message["To"] = envelope(mail.to)
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{message_id(mail)}>"
    for header, value in mail.headers.items():
        message[header] = value
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    message.set_boundary(f"={mail.delivery_id.hex}=")
    return message.as_bytes(policy=_UNBROKEN)


def _named(name: str, address: str) -> str:
    if not name:
        return address
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address}>'


def _domain(address: str) -> str:
    return address.rpartition("@")[2]
