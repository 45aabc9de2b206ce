"""Model factories, one file each: `build(config: ModelConfig) -> nn.Module`.

A model's forward takes numeric f32 [n, F] (unscaled, NaN for missing) and categorical i64 [n, C]
(hashes, 0 for missing) and gives f32 [n, *config.output_shape], or [n, members, *config.output_shape]
of an ensemble: logits, or values in standard deviations of the training labels (regression). The shape
is () for a binary label and a regression, (classes,) for multi-class and multi-label, (quantiles,) for
a quantile regression. A model knows nothing of processes, devices or losses; it calls its sub-modules
and does not reach into their parameters, which lie elsewhere while they are sharded over ranks.

What it gives for a row depends on that row alone, in training as well, so that the result is the same for
any number of ranks: `nn.LayerNorm` in place of batch norm, which is refused, and `layers.RowDropout` in
place of `nn.Dropout`, for which there is a warning.

    mlp       multi-layer perceptron
    resnet    residual perceptron
    tabm      parameter-efficient ensemble of perceptrons

`encoder` (their base) gives all of them category embeddings and the piecewise-linear or periodic numeric
embeddings.
"""
