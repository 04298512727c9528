"""The email room.

hears  SendEmails, EmailWebhooksReceived, TrackingHit
says   EmailsSettled, EmailsObserved, TestEmailsProgressed, AddressesSuppressed
owns   schema email: pages, claims, suppressions, links; all attempts at an email; the layouts
needs  PostgreSQL (reads outbound_messages, contacts, test_messages, holds), NATS, Resend or whatever speaks its protocol, or a
       relay over SMTP
"""
