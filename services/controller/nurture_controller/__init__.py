"""The controller: what each person gets next, and what became of it.

hears  StartSequences, CancelEnrolments, PublishSequence, EmailsSettled, EmailsObserved, TelegramsSettled
says   CommandSettled, SendEmails, SendTelegrams
owns   schema controller (sequences, enrolments, deliveries and their log) and the bus topology
needs  PostgreSQL, NATS; reads the gateway's published people and contacts
"""
