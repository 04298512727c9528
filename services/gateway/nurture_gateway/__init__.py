"""The gateway: REST, provider webhooks, tracking links, dashboard.

hears  CommandSettled (durable, and overheard by each replica), AddressesSuppressed, ChatsChanged, TestEmailsProgressed
says   StartSequences, CancelEnrolments, PublishSequence, SimulateSequence, PauseSequence, ProcessDue, ResendDeliveries,
       ArchiveDeliveries, RecordEvents, SendEmails (test mails), ReplayDeadLetters (each room's), EmailWebhooksReceived,
       TelegramUpdatesReceived, TrackingHit
owns   schema gateway: users, contacts, commands, idempotency_keys, inbound_pages, test_messages,
       sessions, sign_in_links
needs  PostgreSQL, NATS; ADMIN_API_KEY, SECRET_KEY, RESEND_WEBHOOK_SECRET
"""
