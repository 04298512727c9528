"""The sandbox provider: speaks Resend's protocol and Telegram's, sends nothing, remembers everything.

Serves: `POST /emails`, `POST /emails/batch`, `GET /emails/{id}` (Resend), `/bot<token>/<method>` (Bot API, in
`telegram/`), `/api/messages`, `/api/ledger/summary`, `/api/ledger/effects`, `/api/chaos` (tests), `/` (inbox page), `/health/*`;
mails over SMTP, where SANDBOX_SMTP_PORT says so.
Says: signed webhooks to SANDBOX_WEBHOOK_URL, retried until 2xx; updates to bots; visits tracking links as the reader of
a message would.
Owns: one SQLite ledger in SANDBOX_DATA, committed before any reply.
Needs: nothing but its settings (`config.py`).
"""
