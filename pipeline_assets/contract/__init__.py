"""The data contract at work: its rules compiled to SQL, one validating pass, table checks, replay.

The contract's declaration is in `spec.contract`; reading files is `ingest`'s.
"""
