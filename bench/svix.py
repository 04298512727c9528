"""Signed provider webhooks, as the sink and the driver post them."""

import base64
import hmac
import secrets
import time
from datetime import UTC, datetime
from hashlib import sha256

from bench.http1 import request

PATH = "/admin/api/email/webhook"


class Signer:
    """Makes ready-to-send webhook requests under one secret."""

    def __init__(self, secret: str, port: int, path: str = PATH) -> None:
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._port = port
        # A webhook id that was seen before is a repetition and rightly changes nothing.
        self._run = secrets.token_hex(6)
        self._path = path

    def webhook(self, kind: str, number: int, delivery_id: str, provider_id: str) -> bytes:
        """One event about one delivery. `number` makes its id."""
        now = time.time()
        at = datetime.fromtimestamp(now, UTC).isoformat()
        body = (
            f'{{"type":"{kind}","created_at":"{at}","data":{{"email_id":"{provider_id}","created_at":"{at}",'
            f'"from":"Nurture <hello@example.com>","to":["person@example.com"],"subject":"Bench",'
            f'"tags":{{"delivery_id":"{delivery_id}"}}}}}}'
        ).encode()
        webhook_id, stamp = f"msg_{self._run}_{number}", str(int(now))
        mac = hmac.new(self._key, f"{webhook_id}.{stamp}.".encode() + body, sha256).digest()
        headers = {
            "content-type": "application/json",
            "svix-id": webhook_id,
            "svix-timestamp": stamp,
            "svix-signature": "v1," + base64.b64encode(mac).decode(),
        }
        return request(self._port, self._path, headers, body)
