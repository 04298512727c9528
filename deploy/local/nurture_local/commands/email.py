"""email test, email report, email suppressed, email suppress, email lift."""

import json
import time
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from cyclopts import App, Parameter

from nurture_local.terminal import Failure, Where, console, contents, show_table, write

email = App(name="email", help="Try the email channel, tell of what came back, and say which addresses get no mail.")


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


@email.command
def suppressed(
    beginning: str | None = None,
    /,
    *,
    reason: Literal["bounced", "complained", "suppressed", "manual"] | None = None,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table",
    data_dir: Where = None,
) -> int:
    """List addresses that get no mail, those closed last first, up to 200; with BEGINNING those that begin so."""
    from rich.markup import escape
    from rich.table import Table

    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        told = gateway.get("/admin/api/email/suppressions", q=beginning, reason=reason, limit=200)
    if output == "json":
        write(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("ADDRESS", "REASON", "SINCE", "NOTE"):
        table.add_column(column)
    for item in told["items"]:
        table.add_row(escape(item["address"]), item["reason"], item["at"][:19], escape(item["note"]))
    show_table(table)
    if told["next"]:
        console.print("there are more: name how the address begins")
    return 0


@email.command
def suppress(
    address: str,
    /,
    *,
    note: Annotated[str, Parameter(help="Why; it is kept beside the address.")] = "",
    data_dir: Where = None,
) -> int:
    """Send no mail to ADDRESS from now on, whoever has it."""
    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        told = gateway.post("/admin/api/email/suppressions", {"address": address, "note": note})
    console.print(f"no mail goes to {told['address']} ({told['reason']} since {told['at'][:19]})", markup=False)
    return 0


@email.command
def lift(
    address: str,
    /,
    *,
    although_complained: Annotated[
        bool, Parameter(negative="", help="Also where a reader reported a mail as spam, and has asked for mails since.")
    ] = False,
    data_dir: Where = None,
) -> int:
    """Send mails to ADDRESS again, until the next report closes it. Lift it in the provider's own list as well."""
    from nurture_local.gateway import Gateway

    with Gateway.at(data_dir) as gateway:
        told = gateway.delete(
            f"/admin/api/email/suppressions/{quote(address, safe='')}", although_complained=although_complained
        )
    console.print(
        f"mails go to {told['address']} again (it was {told['reason']} since {told['at'][:19]})", markup=False
    )
    return 0
