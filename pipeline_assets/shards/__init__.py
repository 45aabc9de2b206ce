"""Tensor shards: safetensors files with a JSON index, written by engine tasks, read by memory map.

Here belong the format, its writer and the loader that turns shards into batches. How rows become
features is `features/`; what a model does with a batch is `training/`. Nothing here imports torch.
"""

from pipeline_assets.shards.cache import CacheSettings, ShardCache
from pipeline_assets.shards.composing import PartitionShards, compose_index, refer_to_index
from pipeline_assets.shards.errors import DamagedShard, ShardError, ShardUnreachable
from pipeline_assets.shards.hashing import MISSING, hash_categories
from pipeline_assets.shards.index import Shard, ShardIndex, load_index
from pipeline_assets.shards.mapped import Rows
from pipeline_assets.shards.reader import Batch, ShardReader
from pipeline_assets.shards.shuffle_quality import ShuffleQuality, shuffle_quality
from pipeline_assets.shards.sources import Sources
from pipeline_assets.shards.writer import write_shard, write_shards

__all__ = [
    "MISSING",
    "Batch",
    "CacheSettings",
    "DamagedShard",
    "PartitionShards",
    "Rows",
    "Shard",
    "ShardCache",
    "ShardError",
    "ShardIndex",
    "ShardReader",
    "ShardUnreachable",
    "ShuffleQuality",
    "Sources",
    "compose_index",
    "hash_categories",
    "load_index",
    "refer_to_index",
    "shuffle_quality",
    "write_shard",
    "write_shards",
]
