"""Makes MosaicML Streaming importable without the packages that it imports and the benchmark never uses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

_UNUSED = {
    "torchvision": [],
    "torchvision.datasets": ["VisionDataset"],
    "torchvision.transforms": [],
    "torchvision.transforms.functional": ["to_tensor"],
    "transformers": [],
    "transformers.feature_extraction_utils": ["BatchFeature"],
    "transformers.models": [],
    "transformers.models.auto": [],
    "transformers.models.auto.tokenization_auto": ["AutoTokenizer"],
    "transformers.tokenization_utils_base": ["BatchEncoding"],
}
"""Module to the names that Streaming takes from it: base classes and types of other data."""


@contextmanager
def stand_in_for_unused() -> Iterator[None]:
    """While Streaming is imported, register empty modules for those that are not installed."""
    missing = {name for name in ("torchvision", "transformers") if find_spec(name) is None}
    added = [name for name in _UNUSED if name.partition(".")[0] in missing]
    for name in added:
        module = ModuleType(name)
        module.__path__ = []
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        for member in _UNUSED[name]:
            setattr(module, member, type(member, (), {}))
        sys.modules[name] = module
    try:
        yield
    finally:
        # Other packages look whether these are loaded.
        for name in added:
            del sys.modules[name]
