"""The Dagster UI in a real browser: the graph is drawn, and a click materialises an asset."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_assets.lake import Lake

ROOT = Path(__file__).parents[2]
CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.ui,
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: run .ci/browser"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A webserver over the project's own definitions, with a home of its own."""
    home = tmp_path / "dagster"
    home.mkdir()
    # Runs start at once: there is no daemon here that would take them from a queue.
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nnux: {enabled: false}\nrun_coordinator:\n"
        "  module: dagster.core.run_coordinator\n  class: DefaultRunCoordinator\n"
    )
    port = free_port()
    environment = {**os.environ, "DAGSTER_HOME": str(home), "PIPELINE_HOME": str(tmp_path)}
    with (tmp_path / "webserver.log").open("w") as log:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "dagster-webserver"),
                "--workspace",
                "workspace.yaml",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(120):
                assert process.poll() is None, (tmp_path / "webserver.log").read_text()
                try:
                    urllib.request.urlopen(f"{url}/server_info", timeout=2).read()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(1)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_graph_is_drawn_and_a_click_materialises(server: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.goto(f"{server}/asset-groups")
        for use_case in ("churn", "card_fraud", "recommendation"):
            page.get_by_text(use_case, exact=True).first.wait_for(timeout=60_000)
        page.goto(f"{server}/locations/pipeline_assets/asset-groups/churn/lineage")
        for asset in ("raw", "validated", "tensor_shards", "trained_model", "model_version"):
            page.get_by_text(asset, exact=True).first.wait_for(timeout=60_000)
        page.goto(f"{server}/assets/churn/raw")
        page.get_by_role("button", name="Materialize").first.click()
        lake = Lake(str(tmp_path / "data" / "lake"))
        deadline = time.monotonic() + 120
        while lake.dataset("churn", "raw").current() is None and time.monotonic() < deadline:
            time.sleep(1)
        version = lake.dataset("churn", "raw").current()
        assert version is not None, (tmp_path / "webserver.log").read_text()[-3000:]
        page.goto(f"{server}/assets/churn/raw?view=overview")
        page.get_by_text("malformed_lines").first.wait_for(timeout=60_000)
        browser.close()
