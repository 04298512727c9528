"""What Resend checks on one email, and the email as the ledger keeps it. Pure."""

import re
from html.parser import HTMLParser
from typing import Any

from msgspec import Struct

from nurture_local.sandbox.errors import ApiError, invalid, missing_field

MAX_RECIPIENTS = 50
MAX_ATTACHMENTS_BYTES = 40_000_000

# Resend takes no internationalised mailboxes, so ASCII is the rule and not a shortcut.
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?=.{1,255}$)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_NAMED = re.compile(r"\s*[^<>\r\n]*<\s*([^<>\s]+)\s*>\s*")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_FORMAT = "The email address needs to follow the `email@example.com` or `Name <email@example.com>` format."


class Mail(Struct, frozen=True, kw_only=True):
    """One checked email. `addresses` are the bare ones of `to`; `tags` as `[{name, value}]`."""

    sender: str
    to: list[str]
    addresses: list[str]
    subject: str
    html: str | None
    text: str | None
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    headers: dict[str, str]
    tags: list[dict[str, str]]
    attachments: list[str]

    def tag(self, name: str) -> str | None:
        """The value of the first tag of that name."""
        return next((tag["value"] for tag in self.tags if tag["name"] == name), None)


def bare_address(text: str) -> str | None:
    """The address in `a@b.c` or `Name <a@b.c>`; None when it is neither."""
    named = _NAMED.fullmatch(text)
    address = named.group(1) if named else text.strip()
    return address if _ADDRESS.fullmatch(address) else None


def check(fields: Any, *, in_batch: bool = False) -> Mail:
    """One email object of a request. Raises ApiError for the first thing that Resend would refuse."""
    if not isinstance(fields, dict):
        raise invalid("Each email must be a JSON object.")
    for name in ("from", "to"):
        if not fields.get(name):
            raise missing_field(name)
    for name in ("scheduled_at", "template"):
        if fields.get(name) is not None:
            raise ApiError(422, "invalid_parameter", f"The sandbox does not play `{name}`; send without it.")
    if not isinstance(fields.get("subject"), str) or not fields["subject"]:
        raise missing_field("subject")
    html, text = _content(fields)
    sender = fields["from"]
    if not isinstance(sender, str) or bare_address(sender) is None:
        raise invalid(f"Invalid `from` field. {_FORMAT}")
    to = _recipients(fields, "to")
    if in_batch and fields.get("attachments"):
        raise invalid("The `attachments` field is not supported in batch.")
    return Mail(
        sender=sender,
        to=to,
        addresses=[address for address in map(bare_address, to) if address],
        subject=fields["subject"],
        html=html,
        text=text,
        cc=_recipients(fields, "cc"),
        bcc=_recipients(fields, "bcc"),
        reply_to=_recipients(fields, "reply_to"),
        headers=_headers(fields.get("headers")),
        tags=_tags(fields.get("tags")),
        attachments=_attachments(fields.get("attachments")),
    )


def _content(fields: dict[str, Any]) -> tuple[str | None, str | None]:
    html, text = fields.get("html"), fields.get("text")
    for name, value in (("html", html), ("text", text)):
        if value is not None and not isinstance(value, str):
            raise invalid(f"Invalid `{name}` field. It must be a string.")
    if not html and not text:
        raise invalid("Missing `html` or `text` field.")
    if text is None and html:
        return html, plain_text(html)
    return html or None, text or None


def _recipients(fields: dict[str, Any], name: str) -> list[str]:
    value = fields.get(name)
    if value is None:
        return []
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise invalid(f"Invalid `{name}` field. It must be a string or an array of strings.")
    if len(entries) > MAX_RECIPIENTS:
        raise invalid(f"The `{name}` field must have at most {MAX_RECIPIENTS} recipients.")
    if any(bare_address(entry) is None for entry in entries):
        raise invalid(f"Invalid `{name}` field. {_FORMAT}")
    return entries


def _headers(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(header, str) for header in value.values()):
        raise invalid("Invalid `headers` field. It must be an object of strings.")
    if any(mark in text for pair in value.items() for text in pair for mark in "\r\n"):
        raise invalid("Invalid `headers` field. Names and values must not contain line breaks.")
    return value


def _tags(value: Any) -> list[dict[str, str]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(tag, dict) for tag in value):
        raise invalid("Invalid `tags` field. It must be an array of `{name, value}`.")
    for tag in value:
        for part in ("name", "value"):
            text = tag.get(part)
            if not isinstance(text, str) or not _TAG.fullmatch(text):
                raise invalid(
                    "Tags should only contain ASCII letters, numbers, underscores, or dashes, "
                    f"and have 1 to 256 characters (tag `{part}`)."
                )
    return [{"name": tag["name"], "value": tag["value"]} for tag in value]


def _attachments(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ApiError(422, "invalid_attachment", "The `attachments` field must be an array of objects.")
    if any(not (entry.get("content") or entry.get("path")) for entry in value):
        raise ApiError(422, "invalid_attachment", "Attachment must have either a `content` or `path`.")
    if sum(len(entry.get("content") or "") for entry in value) > MAX_ATTACHMENTS_BYTES:
        raise ApiError(422, "invalid_attachment", "Attachments exceed 40 MB per email.")
    return [str(entry.get("filename") or "attachment") for entry in value]


class _Text(HTMLParser):
    _BREAKS = frozenset({"p", "div", "br", "tr", "li", "h1", "h2", "h3", "table"})
    _HIDDEN = frozenset({"style", "script", "title"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in self._HIDDEN
        if tag in self._BREAKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in self._HIDDEN

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def plain_text(html: str) -> str:
    """The text part that the provider makes when a mail comes with HTML only."""
    parser = _Text()
    parser.feed(html)
    lines = (" ".join(line.split()) for line in "".join(parser.parts).split("\n"))
    return "\n".join(line for line in lines if line)
