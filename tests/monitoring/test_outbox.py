"""Alerts wait for channels that are away, with growing pauses, and are lost loudly."""

from pathlib import Path

from pipeline_assets.monitoring.outbox import MOST_TRIES, Waiting, deliver


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def channels(folder: Path) -> list[str]:
    return [f"logfile://{folder}/here/a.jsonl", f"logfile://{folder}/away/b.jsonl"]


def lines(folder: Path) -> list[int]:
    files = [folder / "here" / "a.jsonl", folder / "away" / "b.jsonl"]
    return [len(file.read_text().splitlines()) if file.exists() else 0 for file in files]


def test_only_the_channel_that_was_away_is_tried_again_after_a_pause(tmp_path: Path) -> None:
    (tmp_path / "away").write_text("a file where the folder should be")
    clock = Clock()
    first = deliver({"a": Waiting(title="t", body="b")}, channels(tmp_path), clock=clock)
    assert first.waiting["a"].channels == [2] and not first.lost
    clock.now += 29
    early = deliver(first.waiting, channels(tmp_path), clock=clock)
    assert early.waiting == first.waiting, "not before its time"
    clock.now += 1
    again = deliver(first.waiting, channels(tmp_path), clock=clock)
    assert again.waiting["a"].due == clock.now + 60, "the pause doubles"
    (tmp_path / "away").unlink()
    clock.now += 60
    done = deliver(again.waiting, channels(tmp_path), clock=clock)
    assert not done.waiting and not done.lost
    assert lines(tmp_path) == [1, 1]


def test_what_stays_undeliverable_is_lost_with_its_words(tmp_path: Path) -> None:
    (tmp_path / "away").write_text("")
    clock, tries = Clock(), 0
    waiting = {"a": Waiting(title="churn failed", body="3 rows are bad")}
    while waiting:
        found = deliver(waiting, channels(tmp_path), clock=clock)
        waiting, tries = found.waiting, tries + 1
        clock.now += 24 * 3600
    assert tries == MOST_TRIES and lines(tmp_path)[0] == 1
    for part in (f"after {MOST_TRIES} tries", "2 (logfile)", "churn failed", "3 rows are bad"):
        assert part in found.lost["a"]


def test_a_channel_whose_url_is_wrong_is_not_tried_again(tmp_path: Path) -> None:
    urls = [f"logfile://{tmp_path}/here/a.jsonl", "carrier-pigeon://loft"]
    found = deliver({"a": Waiting(title="t", body="b")}, urls, clock=Clock())
    assert not found.waiting
    assert "after 1 tries on channel 2 (carrier-pigeon)" in found.lost["a"]


def test_many_alerts_do_not_keep_the_caller_for_long(tmp_path: Path) -> None:
    clock = Clock()

    class SlowClock(Clock):
        def __call__(self) -> float:
            self.now += 6
            return self.now

    waiting = {str(i): Waiting(title="t", body="b") for i in range(10)}
    found = deliver(waiting, channels(tmp_path), clock=SlowClock())
    assert 0 < len(found.waiting) < 10
    assert deliver(found.waiting, channels(tmp_path), clock=clock).waiting == {}
    assert lines(tmp_path) == [10, 10]
