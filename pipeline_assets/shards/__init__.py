"""Tensor shards: safetensors files with a JSON index, written by engine tasks, read by memory map.

Here belong the format, its writer and the loader that turns shards into batches. How rows become
features is `features/`; what a model does with a batch is `training/`. Nothing here imports torch.
"""

from pipeline_assets.shards.composing import PartitionShards, compose_index
from pipeline_assets.shards.hashing import MISSING, hash_categories
from pipeline_assets.shards.index import Shard, ShardError, ShardIndex, load_index
from pipeline_assets.shards.reader import Batch, Rows, ShardReader
from pipeline_assets.shards.writer import write_shard, write_shards

__all__ = [
    "MISSING",
    "Batch",
    "PartitionShards",
    "Rows",
    "Shard",
    "ShardError",
    "ShardIndex",
    "ShardReader",
    "compose_index",
    "hash_categories",
    "load_index",
    "write_shard",
    "write_shards",
]
