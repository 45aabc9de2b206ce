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
from pipeline_assets.training.files import json_bytes, write_atomically

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
FORMAT_VERSION = 1
_BATCH_ROWS = 8192


class TabularClassifier(nn.Module):
    """A network and what turns its logits into probabilities.

    Weighting positive rows by w in the loss shifts the logits by log w; `logit_offset` takes that
    back, so that probabilities are those of the data. Members of an ensemble are averaged as
    probabilities.
    """

    logit_offset: Tensor

    def __init__(self, network: nn.Module, positive_weight: float = 1.0) -> None:
        super().__init__()
        self.network = network
        offset = torch.tensor(float(np.log(positive_weight)))
        self.register_buffer("logit_offset", offset)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """Return probabilities f32 [n] from numeric f32 [n, F] and category hashes i64 [n, C]."""
        probability = torch.sigmoid(self.network(numeric, categorical) - self.logit_offset)
        return probability.mean(dim=1) if probability.ndim == 2 else probability

    @torch.no_grad()
    def predict_proba(self, numeric: np.ndarray, categorical: np.ndarray) -> np.ndarray:
        """Return probabilities of the positive class, float32 [n].

        Args:
            numeric: float32 [n, F], unscaled, NaN for missing, columns as in `config.json`.
            categorical: int64 [n, C], `shards.hash_categories`, 0 for missing.
        """
        self.eval()
        device = self.logit_offset.device
        out = np.empty(len(numeric), dtype=np.float32)
        for start in range(0, len(numeric), _BATCH_ROWS):
            rows = slice(start, start + _BATCH_ROWS)
            values = np.require(numeric[rows], np.float32, ["C", "W"])
            hashes = np.require(categorical[rows], np.int64, ["C", "W"])
            probability = self(
                torch.from_numpy(values).to(device), torch.from_numpy(hashes).to(device)
            )
            out[rows] = probability.cpu().numpy()
        return out


def build_network(config: ModelConfig) -> nn.Module:
    """Call the config's factory. Raises `TrainingError` where it cannot be found."""
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
    return factory(config)


def save_model(
    folder: Path,
    *,
    weights: dict[str, Tensor],
    config: ModelConfig,
    positive_weight: float,
    extra: dict[str, Any],
) -> None:
    """Write weights and `config.json`; each file appears whole. `extra` holds further JSON entries."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "format_version": FORMAT_VERSION,
        "numeric": [feature.name for feature in config.preprocessor.numeric],
        "categorical": [feature.name for feature in config.preprocessor.categorical],
        "positive_weight": positive_weight,
        "model": dataclasses.asdict(config),
        **extra,
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomically(folder / WEIGHTS_FILE, save(plain))
    write_atomically(folder / CONFIG_FILE, json_bytes(content))


def load_model(folder: str | Path) -> TabularClassifier:
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
        network = build_network(ModelConfig.from_dict(content["model"]))
        network.load_state_dict(load_file(path / WEIGHTS_FILE))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"no usable model in {path}: {error}") from None
    return TabularClassifier(network, content["positive_weight"]).eval()
