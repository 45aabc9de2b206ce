"""The exported graph gives what the model gives, for any number of rows."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline_assets.training.config import ModelConfig, TrainingError
from pipeline_assets.training.export import export_model, main
from pipeline_assets.training.model import build_network, load_model, save_model
from tests.training.conftest import preprocessor

MLP: tuple[str, dict[str, Any]] = ("mlp", {"numeric_embedding": "periodic"})
RESNET: tuple[str, dict[str, Any]] = ("resnet", {"width": 16, "blocks": 1})
TABM: tuple[str, dict[str, Any]] = ("tabm", {"members": 3, "hidden": [8]})
QUANTILES = {"task": "regression", "quantiles": (0.1, 0.5, 0.9)}


def saved(folder: Path, model: str, options: dict[str, Any], **task: Any) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(
        factory=f"pipeline_assets.training.models.{model}:build",
        options=options,
        preprocessor=preprocessor(),
        **task,
    )
    weights = {
        k: v + 0.01 for k, v in build_network(config).state_dict().items() if v.is_floating_point()
    }
    weights = build_network(config).state_dict() | weights
    save_model(folder, weights=weights, config=config, positive_weight=1.0, extra={})
    return folder


def rows(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    numeric = torch.randn(count, 4, generator=generator)
    numeric[torch.rand(count, 4, generator=generator) < 0.2] = torch.nan
    known = torch.tensor([0, 5, *preprocessor().categorical[0].vocabulary])
    return numeric, known[torch.randint(0, len(known), (count, 1), generator=generator)]


@pytest.mark.parametrize(
    ("model", "options", "task"),
    [
        (*MLP, {}),
        (*MLP, {"task": "multilabel", "classes": 3}),
        (*RESNET, {}),
        (*RESNET, QUANTILES),
        (*TABM, {}),
        (*TABM, {"task": "multiclass", "classes": 4}),
        (*TABM, {"task": "regression"}),
        (*TABM, QUANTILES),
    ],
)
def test_the_graph_gives_what_the_model_gives(
    tmp_path: Path, model: str, options: dict[str, Any], task: dict[str, Any]
) -> None:
    folder = saved(tmp_path / "model", model, options, **task)
    graph = export_model(folder).module()
    for count in (1, 2, 501):
        expected = load_model(folder)(*rows(count))
        assert torch.isfinite(expected).all()
        torch.testing.assert_close(graph(*rows(count)), expected, rtol=1e-6, atol=1e-6)
    assert len(np.unique(expected.detach().numpy())) > 100, "nothing was computed"


def test_the_command_writes_a_file_without_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "model", *TABM)
    out = tmp_path / "model.pt2"
    assert main([str(folder), str(out)]) == 0
    assert not [file for file in tmp_path.iterdir() if file not in (folder, out)]
    assert str(tmp_path) not in "".join(zipfile.ZipFile(out).namelist())
    graph = torch.export.load(out).module()
    torch.testing.assert_close(graph(*rows(7)), load_model(folder)(*rows(7)))
    assert not graph(*rows(7)).requires_grad
    said = capsys.readouterr().out
    assert "float32 [n, 4], unscaled, NaN where missing: signal, gaps, constant, empty" in said
    assert (
        "int64 [n, 1], pipeline_assets.shards.hash_categories of texts, 0 where missing: city"
        in said
    )
    assert main([str(folder), str(tmp_path / "away/model.pt2")]) == 1
    error = capsys.readouterr().err
    assert error.endswith("away/model.pt2 cannot be written: No such file or directory\n")
    assert main([str(tmp_path / "nowhere"), str(out)]) == 1
    assert "export failed: no usable model in" in capsys.readouterr().err
    assert main([str(folder)]) == 2


def test_a_network_that_cannot_be_traced_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "model", *RESNET)
    monkeypatch.setattr(
        "pipeline_assets.training.models.resnet.Resnet.forward",
        lambda self, numeric, categorical: self.missing(numeric) if numeric.sum() > 0 else numeric,
    )
    with pytest.raises(TrainingError, match="cannot be exported"):
        export_model(folder)
