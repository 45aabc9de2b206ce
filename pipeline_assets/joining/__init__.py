"""Joining further sources to the events: which row each event matches, and the table of both.

Belongs here: the match by key and, for slowly changing sources, by the time of the event (`matching`);
what the engine's tasks run (`tasks`, `writing`); the mistakes of a use case's `sources` (`semantics`).
Does not belong here: reading and validating the sources, which `ingest` and `contract` do as for events.
"""
