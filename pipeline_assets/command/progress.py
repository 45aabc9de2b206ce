"""Turns Dagster's console log into a line per stage start and finish, warnings, errors and training epochs.

Dagster writes each event as `time - dagster - LEVEL - job - run id - [pid -] step - EVENT - text`, and each message
of an asset as `... - run id - step - text`; further lines of the same entry follow without that prefix.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_ENTRY = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} - \S+ - "
    r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) - (?P<text>.*)$"
)
_EVENT = re.compile(
    r"^\S+ - (?P<run>[0-9a-f]{8}-[0-9a-f-]{27}) - \d+ - (?:(?P<step>\S+) - )?(?P<event>[A-Z][A-Z_]+) - (?P<text>.*)$"
)
_MESSAGE = re.compile(r"^\S+ - [0-9a-f]{8}-[0-9a-f-]{27} - (?P<step>\S+) - (?P<text>.*)$")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*(?P<name>[A-Z]\w*)(?:: (?P<text>.*))?$")
_FAILED_CHECK = re.compile(r"^Asset check '(?P<name>[^']+)' .*did not pass")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NEEDLESS = ("Dependencies for step", "Dependencies for steps")


@dataclass
class Failure:
    """A step that failed, and why."""

    stage: str
    message: str


@dataclass
class Progress:
    """State of one run's console log; feed it lines in order."""

    use_case: str
    clock: Callable[[], float] = time.monotonic
    run_id: str | None = None
    """Dagster's run id, once the run has begun."""
    succeeded: bool = False
    """Dagster said that the run succeeded."""
    failures: list[Failure] = field(default_factory=list)
    """Failed stages in order."""
    output: list[str] = field(default_factory=list)
    """The last lines that are no log entries: what a launch that never became a run had to say."""
    _started: dict[str, float] = field(default_factory=dict)
    _failed_checks: dict[str, list[str]] = field(default_factory=dict)
    _reading: Failure | None = None
    _begin: float = field(init=False)

    def __post_init__(self) -> None:
        self._begin = self.clock()

    def feed(self, line: str) -> Iterator[str]:
        """Lines to show for one line of the log."""
        line = _COLOUR.sub("", line).rstrip()
        entry = _ENTRY.match(line)
        if entry is None:
            yield from self._further(line)
            return
        yield from self.flush()
        event = _EVENT.match(entry["text"])
        if event is not None:
            self.run_id = event["run"]
            yield from self._event(event["event"], event["step"], event["text"])
            return
        message = _MESSAGE.match(entry["text"])
        if message is not None and not message["text"].startswith(_NEEDLESS):
            stage = self._stage(message["step"])
            if entry["level"] in ("WARNING", "ERROR", "CRITICAL"):
                yield self._line(stage, f"{entry['level'].lower()}: {message['text']}")
            elif message["text"].startswith("epoch "):
                yield self._line(stage, message["text"])

    def flush(self) -> Iterator[str]:
        """Lines for a failure whose message has been read to its end."""
        failure, self._reading = self._reading, None
        if failure is not None:
            failure.message = failure.message or "no message; see the log"
            yield self._line(failure.stage, f"FAILED: {failure.message.splitlines()[0]}")

    def _event(self, event: str, step: str | None, text: str) -> Iterator[str]:
        if event == "RUN_SUCCESS":
            self.succeeded = True
            for open_stage in list(self._started):
                # Dagster's console does not always say so of the last one.
                yield self._done(open_stage)
        elif event in ("RUN_FAILURE", "RUN_CANCELED") and not self.failures:
            self._reading = Failure("(the run)", "")
            self.failures.append(self._reading)
        if step is None:
            return
        stage = self._stage(step)
        if event in ("STEP_START", "STEP_RESTARTED"):
            self._started[stage] = self.clock()
            self._failed_checks[stage] = []
            yield self._line(stage, "started" if event == "STEP_START" else "tried again")
        elif event == "STEP_SUCCESS":
            yield self._done(stage)
        elif event == "STEP_SKIPPED":
            yield self._line(stage, "skipped")
        elif event == "STEP_UP_FOR_RETRY":
            yield self._line(stage, f"warning: {text}")
        elif event == "ASSET_CHECK_EVALUATION" and (check := _FAILED_CHECK.match(text)):
            self._failed_checks.setdefault(stage, []).append(check["name"])
        elif event == "ENGINE_EVENT" and text.startswith("Step blocked by"):
            yield self._line(stage, "waits: another run is in the same pool")
        elif event == "STEP_FAILURE":
            self._started.pop(stage, None)
            self._reading = Failure(stage, "")
            self.failures.append(self._reading)

    def _done(self, stage: str) -> str:
        seconds = self.clock() - self._started.pop(stage, self._begin)
        checks = self._failed_checks.get(stage)
        note = f"; did not pass: {', '.join(checks)}" if checks else ""
        return self._line(stage, f"done in {seconds:.1f} s{note}")

    def _further(self, line: str) -> Iterator[str]:
        """A line without prefix: part of a failure's message, or something printed."""
        if self._reading is None:
            self.output = [*self.output[-39:], line]
            return
        if line.startswith("Stack Trace:") or line.startswith("  File "):
            yield from self.flush()
        elif self._reading.message:
            self._reading.message = f"{self._reading.message}\n{line}".rstrip()
        elif line:
            found = _EXCEPTION.match(line)
            own = found is not None and found["name"] == "Failure" and found["text"]
            self._reading.message = found["text"] if found and own else line

    def _stage(self, step: str) -> str:
        return step.removeprefix(f"{self.use_case}__")

    def _line(self, stage: str, text: str) -> str:
        return f"{self.clock() - self._begin:7.1f} s  {stage:<18}  {text}"
