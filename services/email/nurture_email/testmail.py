"""The test mail: fixed words, so that only the address, the name and the template are the caller's. Pure."""

from typing import Any
from uuid import UUID

from nurture_email.rendering import Outbound

SUBJECT = "A test email from Nurture"
BODY = """Hello{name},

this is a **test email**. It was rendered by the layout `{template}` and came the way that every email of a sequence comes.

- Opening it loads the tracking pixel.
- Following [this link]({link}) counts as a click.
- The link in the footer leads to the unsubscribe page.

Nothing about it is counted in any statistic."""
_MARKDOWN = str.maketrans({letter: f"\\{letter}" for letter in "\\`*_{}[]()<>#+-.!|~&"})


def compose(id: UUID, address: str, template: str, params: dict[str, Any], public_url: str) -> Outbound:
    """A test message, frozen by its row: the same row gives the same mail."""
    name = " ".join(str(params.get("user_name") or "").split())
    body = BODY.format(name=f" {name.translate(_MARKDOWN)}" if name else "", template=template, link=public_url)
    return Outbound(
        delivery_id=id,
        address=address,
        template=template,
        subject=SUBJECT,
        body=body,
        params={"user_name": name, "sequence_type": "test"},
        test=True,
    )
