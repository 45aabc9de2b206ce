"""Alerts reach the channels, never raise, and never show a secret."""

import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipeline_assets.monitoring import send_alert

SECRET = "hunter2hunter2"


@pytest.fixture
def web() -> Iterator[tuple[int, list[bytes]]]:
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(500 if "broken" in self.path else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, received
    server.shutdown()
    server.server_close()


def test_log_file_gets_one_json_line_per_alert(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "alerts.jsonl"
    for number in (1, 2):
        results = send_alert([f"logfile://{path}"], f"title {number}", "two\nlines, Łódź")
        assert [(item.channel, item.sent) for item in results] == [("1 (logfile)", True)]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["title"] for line in lines] == ["title 1", "title 2"]
    assert lines[0]["body"] == "two\nlines, Łódź"
    assert lines[0]["level"] == "failure"


def test_apprise_channel(web: tuple[int, list[bytes]]) -> None:
    port, received = web
    assert send_alert([f"json://127.0.0.1:{port}/hook"], "churn failed", "why")[0].sent
    message = json.loads(received[0])
    assert (message["title"], message["message"], message["type"]) == (
        "churn failed",
        "why",
        "failure",
    )


def test_a_broken_channel_neither_raises_nor_stops_the_others_nor_tells_secrets(
    web: tuple[int, list[bytes]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port, _ = web
    caplog.set_level(logging.DEBUG)
    blocked = tmp_path / "file"
    blocked.write_text("")
    path = tmp_path / "alerts.jsonl"
    channels = [
        f"json://user:{SECRET}@127.0.0.1:{port}/broken?token={SECRET}",
        f"nosuchscheme://{SECRET}",
        f"slack://{SECRET}",
        SECRET,
        f"json://user:{SECRET}@127.0.0.1:9/nobody",
        f"logfile://{blocked}/alerts.jsonl",
        f"logfile://{path}",
    ]
    results = send_alert(channels, "title", "body")
    assert [item.sent for item in results] == [False] * 6 + [True]
    assert all(item.error for item in results[:6])
    assert path.exists()
    assert SECRET not in caplog.text + repr(results)
    assert "alert 'title' was not sent to channel 2 (nosuchscheme)" in caplog.text


def test_a_plugin_that_raises_is_only_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    import apprise

    def explode(*_: object, **__: object) -> bool:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(apprise.Apprise, "notify", explode)
    result = send_alert(["json://localhost"], "title", "body")[0]
    assert result.error == "RuntimeError (message withheld, it may hold secrets)"
    assert logging.getLogger("apprise").level != logging.CRITICAL + 1


def test_no_channel_is_no_error() -> None:
    assert send_alert([], "title", "body") == []
