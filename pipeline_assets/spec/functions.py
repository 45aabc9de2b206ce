"""SQL functions that a row rule or a feature may not call, because it is a function of its row alone."""

_CHANGING = {
    # random
    "aes_encrypt", "monotonically_increasing_id", "rand", "randn", "random", "randstr", "shuffle",
    "uniform", "uuid",
    # the clock
    "curdate", "current_date", "current_time", "current_timestamp", "localtimestamp", "now",
    "unix_timestamp",
    # who asks, where, and how the data lie in files
    "current_catalog", "current_database", "current_schema", "current_timezone", "current_user",
    "input_file_block_length", "input_file_block_start", "input_file_name", "session_user",
    "spark_partition_id", "user", "version",
    # code outside of SQL
    "java_method", "reflect", "try_reflect",
}  # fmt: skip
_OF_MANY_ROWS = {
    "any_value", "approx_count_distinct", "approx_percentile", "array_agg", "avg", "bit_and",
    "bit_or", "bit_xor", "bool_and", "bool_or", "collect_list", "collect_set", "corr", "count",
    "count_if", "covar_pop", "covar_samp", "cume_dist", "dense_rank", "every", "first",
    "first_value", "kurtosis", "lag", "last", "last_value", "lead", "listagg", "max", "max_by",
    "mean", "median", "min", "min_by", "mode", "nth_value", "ntile", "percent_rank", "percentile",
    "percentile_approx", "percentile_cont", "percentile_disc", "rank", "row_number", "skewness",
    "some", "std", "stddev", "stddev_pop", "stddev_samp", "string_agg", "sum", "try_avg",
    "try_sum", "var_pop", "var_samp", "variance",
}  # fmt: skip
_MAKING_ROWS = {
    "explode", "explode_outer", "inline", "inline_outer", "json_tuple", "posexplode",
    "posexplode_outer", "stack",
}  # fmt: skip


def refusal(function: str) -> str | None:
    """Return why a row rule or a feature may not call a function (in lower case), or None.

    >>> refusal("now")
    'its value differs from run to run'
    """
    if function in _CHANGING:
        return "its value differs from run to run"
    if function in _OF_MANY_ROWS:
        return "it needs other rows than its own"
    if function in _MAKING_ROWS:
        return "it makes several rows of one"
    return None


def replacement(function: str) -> str | None:
    """Return what to write instead of a refused function, or None where nothing does the same."""
    return {
        "max": "use greatest() and least()",
        "min": "use greatest() and least()",
        "unix_timestamp": "use to_unix_timestamp() with a column",
    }.get(function)
