"""The Telegram half of the sandbox: speaks the Bot API, and plays the people behind the chats.

Serves: `/bot<token>/<method>` (Bot API), `/api/telegram/*` (play a person from a test), `/chats/*` (play one by hand),
`/t.me/<bot>` (stands in for Telegram's deep links).
Says: updates, by long poll or to a webhook that a bot has set on this machine.
Owns: the `telegram_*` tables of the ledger.
"""
