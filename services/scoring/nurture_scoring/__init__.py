"""The scoring room.

hears  EmailsSettled, EmailsObserved, TelegramsSettled
says   nothing yet
owns   schema scoring: heard
needs  PostgreSQL, NATS
"""
