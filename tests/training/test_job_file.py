"""The job file: the README's example for each task, mistakes in it, and what the command says."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_assets.shards import ShardIndex, hash_categories, write_shard
from pipeline_assets.training.config import TrainingError, TrainingJob
from pipeline_assets.training.launch import main
from pipeline_assets.training.model import load_model
from pipeline_assets.training.worker import train

pytestmark = pytest.mark.usefixtures("one_thread")
README = Path(__file__).parents[2] / "README.md"


def readme_job(folder: Path) -> dict[str, Any]:
    """The README's job, its folders below this one."""
    found = re.search(r"```json\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found[1].replace('"/data/', f'"{folder}/'))


def write_shards(folder: Path, task: str) -> None:
    """Shards of the README's two features, without a use case: one file per split, and the index."""
    rng = np.random.default_rng(0)
    shards = []
    for split, rows in (("train", 300), ("validation", 100)):
        amount = rng.normal(40, 15, (rows, 1)).astype(np.float32)
        label = {
            "binary": amount[:, 0] > 40,
            "multiclass": np.digitize(amount[:, 0], [30, 50]),
            "regression": 2 * amount[:, 0],
        }[task]
        shards.append(
            write_shard(
                str(folder / f"{split}.safetensors"),
                numeric=amount,
                categorical=hash_categories(["Bern", "Basel", None])[rng.integers(0, 3, (rows, 1))],
                label=label.astype(np.float32),
                row_id=np.arange(rows),
                split=split,
            )
        )
    index = ShardIndex(numeric=("amount",), categorical=("city",), shards=tuple(shards))
    (folder / "index.json").write_text(json.dumps(index.to_dict()))


@pytest.mark.parametrize(
    ("task", "model", "monitor"),
    [
        ("binary", {}, "roc_auc"),
        ("multiclass", {"task": "multiclass", "classes": 3}, "accuracy"),
        ("regression", {"task": "regression"}, "rmse"),
    ],
)
def test_the_example_of_the_readme_trains(
    tmp_path: Path, task: str, model: dict[str, Any], monitor: str
) -> None:
    job = readme_job(tmp_path)
    job["model"] |= model
    job["training"] |= {"monitor": monitor, "max_epochs": 2, "batch_size": 64}
    write_shards(tmp_path / "shards", task)
    file = tmp_path / "job.json"
    file.write_text(json.dumps(job))
    train(TrainingJob.load(file))
    numeric, categorical = np.float32([[10], [70]]), hash_categories(["Bern", "Thun"])[:, None]
    predicted = load_model(job["output"]).predict(numeric, categorical)
    assert predicted.shape == ((2, 3) if task == "multiclass" else (2,))


def test_the_command_says_where_the_model_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = readme_job(tmp_path)
    job["training"] |= {"max_epochs": 1}
    job["launch"]["processes"] = 1
    write_shards(tmp_path / "shards", "binary")
    file = tmp_path / "job.json"
    file.write_text(json.dumps(job))
    assert main([str(file)]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == f"the model is in {job['output']}"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (("training", "los"), "focal", r"unknown key training\.los; did you mean 'loss'\?"),
        (("training", "batch_size"), "x", r"training\.batch_size is 'x'; expected integer at least 1"),
        (("training", "learning_rate"), float("inf"), r"learning_rate is inf; expected number above 0"),
        (("training", "positive_weight"), -3, "expected number above 0 or 'balanced' or 'none'"),
        (("training",), [], r"training is \[\]; expected a mapping"),
        (("model", "preprocessor", "numeric", 0, "means"), 1, r"unknown key model\.preprocessor\.numeric\[0\]\.means; did you mean 'mean'"),
        (("launch", "nnodes"), "2", r"launch\.nnodes 2 needs launch\.rdzv_endpoint"),
        (("launch", "nnodes"), "1:3", r"launch\.nnodes 1:3 needs launch\.rdzv_endpoint"),
        (("launch", "nnodes"), "two", r"launch\.nnodes is 'two'; expected a number of nodes"),
        (("launch", "nnodes"), 2, r"launch\.nnodes is 2; expected text"),
        (("seed",), True, r"seed is True; expected integer"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key(
    tmp_path: Path, key: tuple[str | int, ...], value: object, message: str
) -> None:
    job = readme_job(tmp_path)
    part: Any = job
    for name in key[:-1]:
        part = part[name]
    part[key[-1]] = value
    with pytest.raises(TrainingError, match=message):
        TrainingJob.from_dict(job)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(TrainingError) as error:
        TrainingJob.from_dict({"shards": 3, "sed": 1})
    assert str(error.value).splitlines() == [
        "training job: shards is 3; expected text",
        "unknown key sed; did you mean 'seed'?",
        "the key output is required",
        "the key checkpoints is required",
    ]
    with pytest.raises(TrainingError, match=r"the job is \[\]; expected a mapping"):
        TrainingJob.from_dict([])  # pyright: ignore[reportArgumentType]


def test_the_command_explains_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    assert "JSON file of a TrainingJob" in capsys.readouterr().out
    file = tmp_path / "job.json"
    file.write_bytes(b"\xff\xfe")
    assert main([str(file)]) == 1
    assert "training failed: training job" in capsys.readouterr().err
