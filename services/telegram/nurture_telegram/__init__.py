"""Telegram: Bot API, linking, updates, pacing."""
