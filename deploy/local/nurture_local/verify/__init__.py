"""Whether anything was lost or sent twice: the record, the bus and the sandbox's ledger held against each other.

`history` is what is known, `snapshot.take` reads it, `checks` are pure functions from it to verdicts. `nurture verify` asks
them of a live installation, the fault suite of one that it has just broken.
"""
