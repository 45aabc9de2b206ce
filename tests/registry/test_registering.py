import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest

from pipeline_assets.registry import (
    RegistryError,
    client,
    current_model,
    prepare_store,
    register,
    resolve_model,
    set_alias,
    store_errors,
)
from pipeline_assets.registry.store import RegistryAwayError

ROWS = pd.DataFrame(
    {
        "age": [30, 60, 45],
        "balance": [1000.0, np.nan, 0.0],
        "visits": [3.0, np.nan, 10.0],
        "country": ["France", "Spain", "Spain"],
        "member": [True, False, True],
        "since": pd.to_datetime(["2015-03-01", None, "2020-01-31"]),
    }
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    prepare_store(uri, artifact_location=str(folder / "artifacts"), experiment="shop")
    return uri


@pytest.fixture(scope="module")
def registered(store, model_folder, evaluation, use_case):
    return register(
        model_folder=model_folder,
        evaluation=evaluation,
        use_case=use_case,
        tracking_uri=store,
        dagster_run_id="run-1",
        input_example=ROWS.head(1),
    )


def test_the_version_says_where_it_came_from(registered, store, evaluation):
    from pipeline_assets.registry.store import client

    assert (registered.version, registered.alias) == (1, "challenger")
    assert registered.data_versions == evaluation.data_versions
    assert registered.tags["dagster_run_id"] == "run-1"
    assert registered.tags["package.torch"]
    run = client(store).get_run(registered.mlflow_run_id)
    assert run.data.metrics["test_roc_auc"] == evaluation.model.metrics["roc_auc"].value
    assert run.data.params["training.batch_size"] == "1024"
    assert run.info.artifact_uri.startswith("file://")
    names = {item.path for item in client(store).list_artifacts(registered.mlflow_run_id)}
    assert {"environment.txt", "evaluation.json"} <= names


def test_the_loaded_model_predicts_what_the_torch_model_predicts(
    registered, store, model_folder, evaluation
):
    import mlflow

    from pipeline_assets.shards.hashing import hash_categories
    from pipeline_assets.training.model import load_model

    mlflow.set_tracking_uri(store)
    served = mlflow.pyfunc.load_model(registered.model_uri)
    answer = served.predict(ROWS)
    numeric = np.array(
        [
            [30, np.log(1001), 3, 1, 2015],
            [60, np.nan, np.nan, 0, np.nan],
            [45, 0, 10, 1, 2020],
        ],
        dtype=np.float32,
    )
    expected = load_model(model_folder).predict_proba(
        numeric, hash_categories(ROWS["country"]).reshape(-1, 1)
    )
    np.testing.assert_allclose(answer["probability"], expected, atol=1e-6)
    assert (answer["prediction"] == (expected >= evaluation.model.threshold)).all()


def test_rows_that_break_the_contract_are_refused_by_name_value_and_row(registered, store):
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(store)
    served = mlflow.pyfunc.load_model(registered.model_uri)
    wrong = ROWS.assign(age=[30, 160, 45], country=["France", "Spain", "Narnia"])
    with pytest.raises(MlflowException) as caught:
        served.predict(wrong)
    assert "age.range (must be from 18 to 100): 160 in row 1" in str(caught.value)
    assert "country.allowed" in str(caught.value) and "'Narnia' in row 2" in str(caught.value)


def test_nothing_is_pickled(registered, store):
    import mlflow

    mlflow.set_tracking_uri(store)
    from pathlib import Path

    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=registered.model_uri))
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert not suffixes & {".pkl", ".pickle", ".joblib", ".pt", ".pth"}
    assert (folder / "input_example.json").exists()


def test_aliases_resolve_and_the_champion_is_in_use_first(registered, store):
    assert resolve_model("shop", "challenger", tracking_uri=store).version == 1
    in_use = current_model("shop", tracking_uri=store)
    assert in_use is not None and in_use.alias == "challenger"
    set_alias("shop", "champion", 1, tracking_uri=store)
    in_use = current_model("shop", tracking_uri=store)
    assert in_use is not None and in_use.alias == "champion"
    with pytest.raises(RegistryError, match="no alias 'canary'; its aliases: challenger"):
        resolve_model("shop", "canary", tracking_uri=store)
    with pytest.raises(RegistryError, match="no model 'nothing'"):
        resolve_model("nothing", "champion", tracking_uri=store)
    assert current_model("nothing", tracking_uri=store) is None


def test_the_challenger_never_moves_backwards(
    registered, store, model_folder, evaluation, use_case
):
    second = register(
        model_folder=model_folder, evaluation=evaluation, use_case=use_case, tracking_uri=store
    )
    assert second.version == 2
    set_alias("shop", "challenger", 1, tracking_uri=store)
    assert resolve_model("shop", "challenger", tracking_uri=store).version == 2
    with pytest.raises(RegistryError, match="cannot point at version 99"):
        set_alias("shop", "champion", 99, tracking_uri=store)


def test_the_challenger_is_of_the_latest_training_date_whichever_run_is_last(
    store, model_folder, evaluation, use_case
):
    dated = use_case.model_copy(update={"name": "dated"})
    given = []
    for date in ("2018-04-09", "2018-04-02", "2018-04-09"):
        made = register(
            model_folder=model_folder,
            evaluation=evaluation,
            use_case=dated,
            tracking_uri=store,
            training_date=date,
        )
        given.append((made.version, made.alias))
    assert given == [(1, "challenger"), (2, None), (3, "challenger")]
    assert resolve_model(dated.model_name, "challenger", tracking_uri=store).version == 3
    assert set_alias(dated.model_name, "challenger", 2, tracking_uri=store) is False


def test_an_attempt_after_an_interruption_registers_no_second_version(
    store, model_folder, evaluation, use_case, monkeypatch
):
    again = use_case.model_copy(update={"name": "again"})
    server = client(store)
    run_id = server.create_run(server.create_experiment("again")).info.run_id

    def attempt(**versions):
        return register(
            model_folder=model_folder,
            evaluation=evaluation,
            use_case=again,
            tracking_uri=store,
            mlflow_run_id=run_id,
            data_versions={**evaluation.data_versions, **versions},
        )

    def lost(*_, **__):
        raise ConnectionError("lost")

    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(store)
    mlflow.set_experiment("the process logged to another before")
    mlflow.set_tracking_uri(before)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline_assets.registry.registering.set_alias", lost)
        with pytest.raises(ConnectionError):
            attempt()
    second = attempt()
    assert (second.version, second.alias) == (1, "challenger")
    assert attempt(trained_model="0" * 16).version == 2


def test_processes_that_prepare_one_store_at_once_do_not_race(tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    code = (
        "import sys; from pipeline_assets.registry import prepare_store; "
        "prepare_store(sys.argv[1], experiment='one')"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, uri], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for run in runs:
        _, error = run.communicate(timeout=240)
        assert run.returncode == 0, error
        assert error == ""


def test_an_absent_server_is_a_sentence_within_seconds():
    uri = "http://127.0.0.1:9"
    with pytest.raises(RegistryError, match=r"does not answer .* mlflow.tracking_uri"):
        current_model("shop", tracking_uri=uri)
    with pytest.raises(RegistryError, match="does not answer"):
        prepare_store(uri)


def test_a_server_that_is_lost_on_the_way_is_a_sentence_and_may_come_back(monkeypatch):
    class HealthOnly(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/health":
                self.send_response(200)
                self.end_headers()
            # Everything else: the connection is closed without an answer.

        do_POST = do_GET

        def log_message(self, *_):
            pass

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with ThreadingHTTPServer(("127.0.0.1", 0), HealthOnly) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://u:secret@127.0.0.1:{server.server_port}"
        with (
            pytest.raises(RegistryAwayError, match="was lost when it was to begin a run") as caught,
            store_errors(uri, "begin a run"),
        ):
            client(uri).get_experiment_by_name("shop")
        server.shutdown()
    assert isinstance(caught.value, ConnectionError) and "secret" not in str(caught.value)


def test_a_store_that_does_not_exist_has_no_model_in_use(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert current_model("shop", tracking_uri=uri) is None
    with pytest.raises(RegistryError, match="nothing has been tracked"):
        resolve_model("shop", "champion", tracking_uri=uri)


def test_a_lock_is_exclusive(tmp_path):
    from pipeline_assets.registry.store import store_lock

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    inside = threading.Event()

    def enter():
        with store_lock(uri):
            inside.set()

    with store_lock(uri):
        thread = threading.Thread(target=enter)
        thread.start()
        assert not inside.wait(0.3)
    thread.join(5)
    assert inside.is_set()
