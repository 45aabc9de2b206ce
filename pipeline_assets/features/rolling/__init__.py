"""Rolling-window features: the kernel over events in memory, and how rows travel to and from it.

Belongs here: `kernel` and its parts (`entities`, `windows`, `aggregates`, `exact`), pure NumPy and
Arrow, which know neither engines nor partitions; `plan`, what a use case asks of them; and the functions
that engine tasks run: `together` where one task does it all, `tasks` and `assemble` where many share the
work, `files`. Does not belong here: the engine's side of it, which is in `features/partitions.py`, and
how rows travel at all (`engine.exchange`).
"""
