"""The sandbox provider: speaks Resend's protocol, sends nothing, remembers everything.

Serves: `POST /emails`, `POST /emails/batch`, `GET /emails/{id}` (Resend), `/api/messages`, `/api/ledger/summary`,
`/api/chaos` (tests), `/` (inbox page), `/health/*`.
Says: signed webhooks to SANDBOX_WEBHOOK_URL, retried until 2xx; visits tracking links as the reader of a mail would.
Owns: one SQLite ledger in SANDBOX_DATA, committed before any reply.
Needs: nothing but its settings (`config.py`).
"""
