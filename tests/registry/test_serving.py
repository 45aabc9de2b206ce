import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipeline_assets.registry import prepare_store, register

GOOD = {
    "age": 30,
    "balance": 1000.0,
    "visits": 3,
    "country": "France",
    "member": True,
    "since": "2015-03-01T00:00:00",
}


def _ask(url, rows):
    body = json.dumps({"dataframe_records": rows}).encode()
    request = urllib.request.Request(
        f"{url}/invocations", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["predictions"]


@pytest.fixture(scope="module")
def server(tmp_path_factory, model_folder, evaluation, use_case):
    folder = tmp_path_factory.mktemp("serving")
    uri = f"sqlite:///{folder}/mlflow.db"
    prepare_store(uri, artifact_location=str(folder / "artifacts"), experiment="shop")
    model = register(
        model_folder=model_folder, evaluation=evaluation, use_case=use_case, tracking_uri=uri
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # MLflow finds uvicorn by PATH, as in an activated virtual environment.
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "MLFLOW_TRACKING_URI": uri}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model.model_uri]
    process = subprocess.Popen(
        [*command, "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)],
        env=environment,
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(240):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        try:
            urllib.request.urlopen(f"{url}/ping", timeout=2)
            break
        except OSError:
            time.sleep(1)
    yield url, model, uri
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


@pytest.mark.heavy
def test_mlflow_serves_plain_rows_of_validated_columns(server):
    import mlflow
    import pandas as pd

    url, model, uri = server
    missing = {"age": 60, "country": "Spain", "member": False}
    answer = _ask(url, [GOOD, {**GOOD, **missing, "balance": None, "visits": None, "since": None}])
    mlflow.set_tracking_uri(uri)
    expected = mlflow.pyfunc.load_model(model.model_uri).predict(
        pd.DataFrame(
            {
                "age": [30, 60],
                "balance": [1000.0, None],
                "visits": [3.0, None],
                "country": ["France", "Spain"],
                "member": [True, False],
                "since": pd.to_datetime(["2015-03-01", None]),
            }
        )
    )
    assert [row["probability"] for row in answer] == pytest.approx(list(expected["probability"]))
    assert [row["prediction"] for row in answer] == list(expected["prediction"])
    start = time.perf_counter()
    _ask(url, [GOOD])
    assert time.perf_counter() - start < 5


@pytest.mark.heavy
def test_a_row_that_breaks_the_contract_is_answered_with_400_and_a_sentence(server):
    url, _, _ = server
    with pytest.raises(urllib.error.HTTPError) as caught:
        _ask(url, [{**GOOD, "age": 7}])
    assert caught.value.code == 400
    assert "age.range (must be from 18 to 100): 7 in row 0" in caught.value.read().decode()
