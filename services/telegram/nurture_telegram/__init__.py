"""The telegram room.

hears  SendTelegrams
says   TelegramsSettled
owns   schema telegram: pages
needs  PostgreSQL, NATS
"""
