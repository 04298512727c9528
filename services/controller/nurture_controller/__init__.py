"""The controller: what each person gets next, and what became of it.

hears  StartSequences, CancelEnrolments, PublishSequence, SimulateSequence, PauseSequence, ProcessDue,
       ResendDeliveries, ArchiveDeliveries, ReplayControllerLetters, EmailsSettled, EmailsObserved, TelegramsSettled,
       TelegramsObserved, EventsRecorded
says   CommandSettled, SendEmails, SendTelegrams
owns   schema controller (sequences, enrolments, deliveries and their log), the bus topology, what is held and why
needs  PostgreSQL, NATS; reads the gateway's people and contacts, the scores, and whether Telegram is ready
"""
