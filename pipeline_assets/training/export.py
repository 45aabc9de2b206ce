"""A trained model as one graph: `python -m pipeline_assets.training.export MODEL_FOLDER OUT.pt2`.

The graph holds preprocessing, network and what turns outputs into predictions; it runs without this
package, by `torch.export.load(path).module()`, and is what AOTInductor and other compilers start from.
"""

import io
import sys
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from pipeline_assets.training.config import TrainingError
from pipeline_assets.training.files import write_atomically
from pipeline_assets.training.model import load_model

_EXAMPLE_ROWS = 2


def export_model(folder: str | Path) -> ExportedProgram:
    """Trace a trained model, for any number of rows from one on.

    Its inputs are numeric f32 [n, F] and category hashes i64 [n, C], its output f32 [n, *output_shape], as
    of `TabularModel.forward`.

    Raises:
        TrainingError: there is no usable model, or its network cannot be traced.
    """
    model = load_model(folder)
    preprocessor = model.config.preprocessor
    numeric = torch.zeros(_EXAMPLE_ROWS, len(preprocessor.numeric))
    categorical = torch.zeros(_EXAMPLE_ROWS, len(preprocessor.categorical), dtype=torch.int64)
    rows = Dim("rows", min=1)
    try:
        # Its outputs would take along the way back to the weights.
        with torch.no_grad():
            exported = torch.export.export(
                model.requires_grad_(False),
                (numeric, categorical),
                dynamic_shapes={"numeric": {0: rows}, "categorical": {0: rows}},
            )
    except Exception as error:
        raise TrainingError(f"the model in {folder} cannot be exported: {error}") from error
    # Torch's format has them as a pickle, of None this way.
    exported.example_inputs = None
    return exported


def main(arguments: list[str]) -> int:
    """The command."""
    if len(arguments) != 2 or not arguments[1].endswith(".pt2"):
        sys.stderr.write("usage: python -m pipeline_assets.training.export MODEL_FOLDER OUT.pt2\n")
        return 2
    folder, out = map(Path, arguments)
    content = io.BytesIO()
    try:
        torch.export.save(export_model(folder), content)
        write_atomically(out, content.getvalue())
    except TrainingError as error:
        sys.stderr.write(f"export failed: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"export failed: {out} cannot be written: {error.strerror}\n")
        return 1
    known = load_model(folder).config.preprocessor
    sys.stdout.write(
        f"{out.absolute()} takes, of n rows,\n"
        f"  numeric      float32 [n, {len(known.numeric)}], unscaled, NaN where missing: "
        f"{', '.join(feature.name for feature in known.numeric) or 'none'}\n"
        f"  categorical  int64 [n, {len(known.categorical)}], pipeline_assets.shards.hash_categories of texts, 0 "
        f"where missing: {', '.join(feature.name for feature in known.categorical) or 'none'}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
