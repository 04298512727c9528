"""email test, email report."""

import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from nurture_local.terminal import Failure, Where, console, contents

email = App(name="email", help="Try the email channel, and tell of what came back.")


@email.command(name="test")
def send_test(
    address: str,
    /,
    *,
    template: Literal["nurture_sequence", "welcome_email"] = "nurture_sequence",
    name: Annotated[str, Parameter(help="How the mail addresses its reader.")] = "Test User",
    timeout: Annotated[float, Parameter(help="Seconds to wait until the provider has taken it.")] = 15.0,
    data_dir: Where = None,
) -> int:
    """Send a test mail to ADDRESS; it appears in no statistic."""
    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        body = {"email_address": address, "user_name": name, "template_type": template}
        accepted = gateway.post("/admin/api/email/test", body)
        deadline = time.monotonic() + timeout
        while True:
            shown = gateway.get(accepted["status_url"])
            if shown["status"] == "failed":
                raise Failure(f"the test mail failed: {shown['failure_reason'] or 'no reason was given'}")
            if shown["status"] != "queued":
                console.print(f"{shown['status']}: test mail {shown['id']} to {address}", markup=False)
                return 0
            if time.monotonic() > deadline:
                parked = gateway.get("/admin/api/email/queue")["park_reason"]
                why = [f"email sends nothing at the moment: {parked}"] if parked else []
                raise Failure(f"not sent after {timeout:g} s; it stays queued", *why, f"see {accepted['status_url']}")
            time.sleep(0.1)


@email.command
def report(file: Annotated[Path, Parameter(allow_leading_hyphen=True)], /, *, data_dir: Where = None) -> int:
    """Tell of a bounce or a complaint that came back as mail: FILE has it as it came; `-` reads standard input.

    For a mail server to pipe returned mails to, where emails go over SMTP. What is no report is ignored; the same one twice is
    one event.
    """
    from nurture_local.gateway import Gateway

    mail = contents(file)
    with Gateway.at(data_dir) as gateway:
        told = gateway.post_text("/admin/api/email/reports", mail, "message/rfc822")
    what = f"{told['event']} {told['delivery_id']}" if told["status"] == "stored" else told["detail"]
    console.print(f"{told['status']}: {what}", markup=False)
    return 0
