"""Mails that belong to no delivery: tests, and the question whether a mailbox is somebody's. Fixed words, so that only the
address, the name and the template are the caller's. Pure."""

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
VERIFY_SUBJECT = "Is this your address?"
VERIFY_BODY = """Hello{name},

somebody gave us this address as theirs. If it was you, [confirm your address]({link}).

If it was not, do nothing: nobody will know that you read this."""
_MARKDOWN = str.maketrans({letter: f"\\{letter}" for letter in "\\`*_{}[]()<>#+-.!|~&"})


def compose(id: UUID, address: str, template: str, params: dict[str, Any], public_url: str) -> Outbound:
    """A message frozen by its row: the same row gives the same mail. `params` has `user_name`, and `purpose` if it is no test."""
    name = " ".join(str(params.get("user_name") or "").split())
    asks = params.get("purpose") == "verification"
    # The token is put in when the mail is rendered, and is stored nowhere.
    link = f"{public_url.rstrip('/')}/v/" if asks else public_url
    words = VERIFY_BODY if asks else BODY
    body = words.format(name=f" {name.translate(_MARKDOWN)}" if name else "", template=template, link=link)
    return Outbound(
        delivery_id=id,
        address=address,
        template=template,
        subject=VERIFY_SUBJECT if asks else SUBJECT,
        body=body,
        params={"user_name": name, "sequence_type": "test"} | ({"verify_url": link} if asks else {}),
        test=True,
    )
