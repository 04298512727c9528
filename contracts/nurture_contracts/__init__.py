"""The words on Nurture's wire: messages, subjects, streams, ids. msgspec only; imported by every room."""
