"""Which events lie in which target's window: index ranges over the sorted events."""

import numpy as np


class Windows:
    """Windows `(t - delay - length, t - delay]` of target rows over events of the same entity.

    Events and targets are sorted by the keys of `keyed_blocks`; windows are index ranges
    `start <= index < end` over the events. All methods take microseconds and return int64 [targets].
    """

    def __init__(self, events: np.ndarray, targets: np.ndarray) -> None:
        """Take int64 keys, ascending: events [n], targets [m]."""
        self._events = events
        self._targets = targets
        self._found: dict[int, np.ndarray] = {}

    def end(self, delay: int) -> np.ndarray:
        """Events up to `t - delay`, that instant included."""
        if delay not in self._found:
            keys = self._targets - delay
            self._found[delay] = np.searchsorted(self._events, keys, side="right")
        return self._found[delay]

    def start(self, delay: int, length: int) -> np.ndarray:
        """Events up to `t - delay - length`, that instant included."""
        return self.end(delay + length)

    def last_before(self, delay: int) -> np.ndarray:
        """Index after the last event up to `t - delay` that is earlier than `t`."""
        return self.end(max(delay, 1))

    def elapsed(self, index: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Microseconds from event `index[i]` of the same entity to target i, for some targets."""
        return self._targets[targets] - self._events[index[targets]]
