"""The scoring room.

hears  EmailsObserved, TelegramsSettled, TelegramsObserved, RecordEvents
says   EventsRecorded; scores are read, not announced
owns   schema scoring: message_credits, external_events, states, means, score_days; the formula, in Python and as SQL functions
needs  PostgreSQL (reads deliveries, people), NATS
"""
