"""Writes a use case's landing files when its source does not exist yet."""

import importlib
import inspect
from pathlib import Path
from typing import Any

from pipeline_assets.demo_data.errors import DemoDataError
from pipeline_assets.spec import Source
from pipeline_assets.spec.time import PLACEHOLDER


def landing_place(uri: str) -> str:
    """The `uri` of a source; where it names partitions, the folder that holds them all.

    >>> landing_place("data/clicks/{partition}*.parquet")
    'data/clicks'
    """
    before, placeholder, _ = uri.partition(PLACEHOLDER)
    return before.rpartition("/")[0] if placeholder else uri


def folder_to_fill(source: Source, *, home: Path | None = None) -> Path | None:
    """The folder that is to be generated, None where the source is there or nobody may make it up.

    Args:
        source: with an absolute `uri`; where it names partitions, the folder that holds them all counts.
        home: only folders below this one are filled; all by default. A path elsewhere names files that
            someone else delivers, and made-up rows in their place would be taken for theirs.
    """
    scheme, _, rest = landing_place(source.uri).rpartition("://")
    if source.demo is None or scheme not in ("", "file") or any(c in rest for c in "*?["):
        return None  # only local folders can be generated
    target = Path(rest)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        return None
    if target.suffix or (home is not None and not target.is_relative_to(home)):
        return None  # files that are missing: ingest says so
    return target


def ensure_demo_data(source: Source, *, home: Path | None = None) -> dict[str, Any] | None:
    """Generate the landing files that `source.demo` declares into `folder_to_fill`.

    Returns:
        The generator's summary; None where nothing was generated.

    Raises:
        DemoDataError: an unknown generator, or options that it does not take.
    """
    target = folder_to_fill(source, home=home)
    if target is None or source.demo is None:
        return None
    module_name, _, function_name = source.demo.generator.partition(":")
    try:
        generate = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise DemoDataError(
            f"source.demo.generator: {source.demo.generator!r} is not module:function ({error})"
        ) from error
    demo = source.demo
    common = {
        "rows": demo.rows,
        "seed": demo.seed,
        "bad_share": demo.bad_share,
        "shift": demo.shift,
    }
    taken = set(inspect.signature(generate).parameters) - {"target", *common}
    if unknown := sorted(set(demo.options) - taken):
        raise DemoDataError(
            f"source.demo.options: {demo.generator} does not take {', '.join(unknown)}; "
            f"it takes {', '.join(sorted(taken)) or 'none'}"
        )
    return generate(target, **common, **demo.options)
