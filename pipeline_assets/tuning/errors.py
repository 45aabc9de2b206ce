"""What goes wrong in a study."""


class TuningError(Exception):
    """A study cannot start or has no result; the message says why and what to do."""
