"""The telegram room.

hears  SendTelegrams, TrackingHit (Telegram's), TelegramUpdatesReceived
says   TelegramsSettled, TelegramsObserved, ChatsChanged
owns   schema telegram: pages, claims, chats, refusals, links; all attempts at a Telegram message; the bot's updates
needs  PostgreSQL (reads outbound_messages, contacts, users, telegram_inbox, holds), NATS, the Bot API or whatever
       speaks it
"""
