"""Model factories, one file each: `build(config: ModelConfig) -> nn.Module`.

A model's forward takes numeric f32 [n, F] (unscaled, NaN for missing) and categorical i64 [n, C]
(hashes, 0 for missing) and gives logits [n], or [n, members] of an ensemble. A model knows nothing
of processes, devices or losses.
"""
