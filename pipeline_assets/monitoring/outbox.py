"""Alerts on their way: tried again with growing pauses until every channel has them, or it is too late.

Pure: what waits is passed in and comes back, so that the caller can keep it where it survives a restart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline_assets.monitoring.alerts import send_alert

MOST_TRIES = 8
"""After which an alert is lost: about an hour after the first try."""
FIRST_PAUSE_SECONDS = 30.0
"""Pause after the first try; each further one is twice as long."""
SENDING_SECONDS = 20.0
"""After which a call of `deliver` begins no further alert, because its caller may be stopped for taking long."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """An alert that some channel has not got yet."""

    title: str
    body: str
    channels: list[int] | None = None
    """Positions (from 1) of the channels that lack it; None for all."""
    tries: int = 0
    """How often it was tried."""
    due: float = 0.0
    """When to try it next, in seconds of the caller's clock."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What became of the alerts that waited; those not named here are delivered."""

    waiting: dict[str, Waiting] = field(default_factory=dict)
    """To be tried again, by their identifiers."""
    lost: dict[str, str] = field(default_factory=dict)
    """Given up: what some channel will never get, and why."""


def deliver(
    waiting: Mapping[str, Waiting], channels: Sequence[str], *, clock: Callable[[], float]
) -> Delivery:
    """Send what is due to the channels that lack it, in order.

    Args:
        waiting: alerts by identifier.
        channels: as for `send_alert`.
        clock: the time in seconds.
    """
    found = Delivery()
    begin = clock()
    for name, alert in waiting.items():
        if alert.due > begin or clock() - begin > SENDING_SECONDS:
            found.waiting[name] = alert
            continue
        results = send_alert(channels, alert.title, alert.body, only=alert.channels)
        failed = [result for result in results if not result.sent]
        tries = alert.tries + 1
        again = [] if tries >= MOST_TRIES else [r.position for r in failed if not r.hopeless]
        gone = [f"{r.channel}: {r.error}" for r in failed if r.position not in again]
        if again:
            pause = FIRST_PAUSE_SECONDS * 2 ** (tries - 1)
            found.waiting[name] = replace(alert, channels=again, tries=tries, due=clock() + pause)
        if gone:
            found.lost[name] = (
                f"alert lost after {tries} tries on channel {'; '.join(gone)}. "
                f"It said: {alert.title}\n{alert.body}"
            )
    return found
