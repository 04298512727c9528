"""webhook send: an event of the email provider, signed as it signs."""

import json
import time
import uuid
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from nurture_local.terminal import Failure, Where, console, contents

webhook = App(name="webhook", help="Try the email provider's webhook.")


@webhook.command
def send(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    id_: Annotated[str | None, Parameter(name="--id")] = None,
    data_dir: Where = None,
) -> int:
    """Sign the event in FILE (JSON; `-` reads standard input) and post it to the gateway, as the provider would.

    The secret is RESEND_WEBHOOK_SECRET, else the one that this instance made for itself.

    Parameters
    ----------
    id_
        The webhook's id. The same one twice is one event, as when a provider tries again; a new one, if not given.
    """
    from nurture_local.gateway import Gateway
    from nurture_local.sandbox.webhooks import Signer

    body = _event(file)
    try:
        signer = Signer(_secret(data_dir))
    except ValueError as error:
        raise Failure(str(error)) from None
    webhook_id = id_ or f"msg_{uuid.uuid4().hex}"
    with Gateway.at(data_dir) as gateway:
        answer = gateway.post_signed(
            "/admin/api/email/webhook", body, signer.headers(webhook_id, int(time.time()), body)
        )
    console.print(f"{answer['status']}: {webhook_id}", markup=False)
    return 0


def _event(file: Path) -> bytes:
    body = contents(file)
    try:
        event: Any = json.loads(body)
    except ValueError as error:
        raise Failure(f"{file} is not JSON: {error}") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise Failure(f"{file} is no event", 'it takes an object like {"type": "email.opened", "data": {…}}')
    return body


def _secret(data_dir: Path | None) -> str:
    import os

    from nurture_local.instance import DataDir, DataDirRefused

    named = os.environ.get("RESEND_WEBHOOK_SECRET_FILE")
    try:
        told = Path(named).read_text("utf-8").strip() if named else os.environ.get("RESEND_WEBHOOK_SECRET", "").strip()
        secret = told or DataDir(data_dir).known_secrets().webhook_secret
    except OSError as error:
        raise Failure(f"RESEND_WEBHOOK_SECRET_FILE points to a file that cannot be read: {error.strerror}") from None
    except DataDirRefused as error:
        raise Failure(str(error)) from None
    if not secret:
        raise Failure("there is no secret to sign with", "set RESEND_WEBHOOK_SECRET to that of the instance")
    # While a secret is being replaced there are two; the gateway takes either.
    return secret.partition(",")[0].strip()
