"""Tells people: one alert to every channel of the environment, by apprise or into a local log file.

A channel is an apprise URL (mail, Slack, Teams, Telegram, ntfy, …) or `logfile:///path/alerts.jsonl`,
which appends one JSON line per alert. Channel URLs hold secrets: they appear in no log, no result and
no exception; a channel is named by its position and scheme. An alert usually reports a failure, so a
channel that cannot be reached never raises: what went wrong is in the result and in the log.
"""

import contextlib
import json
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

LOG_FILE = "logfile://"
"""Scheme of the local log file."""

Level = Literal["info", "warning", "failure"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AlertResult:
    """What became of an alert on one channel."""

    position: int
    """Place among the channels, from 1."""
    channel: str
    """Position and scheme, e.g. "2 (mailto)"; never the URL."""
    sent: bool
    """True where the channel accepted it."""
    error: str | None = None
    """Why not, without secrets."""
    hopeless: bool = False
    """True where trying again is of no use: the URL itself is wrong."""


class _UnknownChannel(Exception):
    """A URL that apprise cannot read."""


def send_alert(
    channels: Sequence[str],
    title: str,
    body: str,
    *,
    level: Level = "failure",
    only: Collection[int] | None = None,
) -> list[AlertResult]:
    """Send one alert to all channels, one after another; never raises.

    Args:
        channels: apprise URLs, or `logfile:///absolute/path` (`logfile://relative/path` from the
            working directory).
        title: one line.
        body: plain text.
        level: how grave it is.
        only: positions (from 1) of the channels to send to; all by default.
    """
    results = []
    for position, channel in enumerate(channels, start=1):
        if only is not None and position not in only:
            continue
        scheme = channel.split("://", 1)[0] if "://" in channel else "unknown"
        name = f"{position} ({scheme})"
        hopeless = False
        try:
            error = _send(channel, title, body, level)
        except _UnknownChannel as reason:
            error, hopeless = str(reason), True
        if error is not None:
            _logger.warning("alert %r was not sent to channel %s: %s", title, name, error)
        results.append(
            AlertResult(
                position=position,
                channel=name,
                sent=error is None,
                error=error,
                hopeless=hopeless,
            )
        )
    return results


def _send(channel: str, title: str, body: str, level: Level) -> str | None:
    """Send to one channel; return why it failed, or None. Raises `_UnknownChannel` for a wrong URL."""
    if channel.startswith(LOG_FILE):
        try:
            _append(Path(channel.removeprefix(LOG_FILE)), title, body, level)
        except OSError as error:
            return str(error)
        return None
    try:
        with _quiet():
            return _notify(channel, title, body, level)
    except _UnknownChannel:
        raise
    # Plugins are third-party code, and whatever they raise would replace the failure that the alert
    # is about. Messages of theirs may quote the URL, so only the type is told.
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__} (message withheld, it may hold secrets)"


def _notify(channel: str, title: str, body: str, level: Level) -> str | None:
    import apprise

    sender = apprise.Apprise()
    if not sender.add(channel):
        raise _UnknownChannel("apprise does not know this kind of URL, or it is incomplete")
    kind = {
        "info": apprise.NotifyType.INFO,
        "warning": apprise.NotifyType.WARNING,
        "failure": apprise.NotifyType.FAILURE,
    }[level]
    sent = sender.notify(
        body=body, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT
    )
    return None if sent else "the service did not accept it or was not reached"


def _append(path: Path, title: str, body: str, level: Level) -> None:
    """Append one JSON line in one write, so that lines of several processes do not mix."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "level": level,
        "title": title,
        "body": body,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep apprise and its HTTP client from logging URLs while they work."""
    loggers = [logging.getLogger(name) for name in ("apprise", "urllib3", "requests")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
