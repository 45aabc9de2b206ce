"""The trained artefact: safetensors weights and a JSON config, loadable with torch alone."""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pipeline_assets.training.config import ModelConfig, TrainingError
from pipeline_assets.training.files import json_bytes, write_result
from pipeline_assets.training.tasks import UNSCALED, TargetScale

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
FORMAT_VERSION = 1
BATCH_ROWS = 8192
"""Rows that `TabularModel.predict` gives the network at a time."""


class TabularModel(nn.Module):
    """A network and what turns its outputs into predictions.

    - Binary, multi-class and multi-label: probabilities. Weighting positive rows of a label by w in its loss
      shifts its logits by log w; `logit_offset` ([], or [labels]) takes that back, so that probabilities
      are those of the data.
    - Regression: values in the label's unit. Quantiles are sorted, so that they never cross.

    Members of an ensemble are averaged as probabilities or values.
    """

    logit_offset: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        network: nn.Module,
        config: ModelConfig,
        *,
        positive_weight: float | list[float] = 1.0,
        target: TargetScale = UNSCALED,
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.task = config.task
        self.output_shape = config.output_shape
        for name, value in (
            ("logit_offset", np.log(positive_weight).tolist()),
            ("target_mean", target.mean),
            ("target_std", target.std),
        ):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Return predictions f32 [n, *output_shape] from numeric f32 [n, F] and hashes i64 [n, C]."""
        output = self.network(numeric, categorical)
        if self.task in ("binary", "multilabel"):
            predicted = torch.sigmoid(output - self.logit_offset)
        elif self.task == "multiclass":
            predicted = torch.softmax(output, dim=-1)
        else:
            predicted = output * self.target_std + self.target_mean
        if predicted.ndim == 2 + len(self.output_shape):
            predicted = predicted.mean(dim=1)
        is_quantiles = self.task == "regression" and len(self.output_shape) == 1
        return predicted.sort(dim=1).values if is_quantiles else predicted

    @torch.no_grad()
    def predict(self, numeric: np.ndarray, categorical: np.ndarray) -> np.ndarray:
        """Return predictions, float32 [n, *output_shape].

        Args:
            numeric: float32 [n, F], unscaled, NaN for missing, columns as in `config.json`.
            categorical: int64 [n, C], `shards.hash_categories`, 0 for missing.
        """
        self.eval()
        device = self.logit_offset.device
        out = np.empty((len(numeric), *self.output_shape), dtype=np.float32)
        for start in range(0, len(numeric), BATCH_ROWS):
            rows = slice(start, start + BATCH_ROWS)
            values = np.require(numeric[rows], np.float32, ["C", "W"])
            hashes = np.require(categorical[rows], np.int64, ["C", "W"])
            predicted = self(
                torch.from_numpy(values).to(device), torch.from_numpy(hashes).to(device)
            )
            out[rows] = predicted.cpu().numpy()
        return out

    def predict_proba(self, numeric: np.ndarray, categorical: np.ndarray) -> np.ndarray:
        """Return probabilities float32: of the positive class [n], of each class or label [n, classes].

        Arguments as of `predict`. Raises `TrainingError` for a regression.
        """
        if self.task == "regression":
            raise TrainingError("a regression has no probabilities: call predict")
        return self.predict(numeric, categorical)


def build_network(config: ModelConfig) -> nn.Module:
    """Call the config's factory. Raises `TrainingError` where it cannot be found, or builds no network."""
    module_name, separator, function_name = config.factory.partition(":")
    if not separator:
        raise TrainingError(
            f"model factory {config.factory!r} is not of the form module:function, "
            "e.g. pipeline_assets.training.models.mlp:build"
        )
    try:
        factory = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise TrainingError(f"model factory {config.factory!r} cannot be loaded: {error}") from None
    try:
        network = factory(config)
    except TypeError as error:
        raise TrainingError(
            f"model factory {config.factory!r} failed with model.options {config.options}: {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise TrainingError(
            f"model factory {config.factory!r} returned a {type(network).__name__}, not an nn.Module"
        )
    return network


def save_model(
    folder: Path,
    *,
    weights: dict[str, Tensor],
    config: ModelConfig,
    positive_weight: float | list[float],
    target: TargetScale = UNSCALED,
    extra: dict[str, Any],
) -> None:
    """Write weights and `config.json`; each file appears whole. `extra` holds further JSON entries.

    Raises:
        TrainingError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "format_version": FORMAT_VERSION,
        "numeric": [feature.name for feature in config.preprocessor.numeric],
        "categorical": [feature.name for feature in config.preprocessor.categorical],
        "positive_weight": positive_weight,
        "target": dataclasses.asdict(target),
        "model": dataclasses.asdict(config),
        **extra,
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_result(folder / WEIGHTS_FILE, save(plain))
    write_result(folder / CONFIG_FILE, json_bytes(content))


def load_model(folder: str | Path) -> TabularModel:
    """Load a trained model from its folder, on the CPU, in evaluation mode.

    Raises:
        TrainingError: files missing or damaged, or weights that do not fit the config.
    """
    path = Path(folder)
    try:
        content = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
        if content["format_version"] != FORMAT_VERSION:
            raise TrainingError(
                f"{path / CONFIG_FILE} has format version {content['format_version']}, "
                f"this code reads {FORMAT_VERSION}: train again"
            )
        config = ModelConfig.from_dict(content["model"])
        network = build_network(config)
        network.load_state_dict(load_file(path / WEIGHTS_FILE))
        # Models of former versions are binary and name no target.
        target = TargetScale(**content.get("target", {}))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"no usable model in {path}: {error}") from None
    return TabularModel(
        network, config, positive_weight=content["positive_weight"], target=target
    ).eval()
