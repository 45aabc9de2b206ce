"""`make bench`: every benchmark, one after another, each printing its table."""

import argparse
import subprocess
import sys

BENCHMARKS = (
    "engine_start",
    "validation",
    "chain",
    "rolling",
    "loader",
    "large_data",
    "training",
    "training_ranks",
    "checkpoints",
    "training_gpu",
    "churn_quality",
    "fraud_quality",
    "tuning",
)


def main() -> int:
    """Run the named benchmarks, or all; 1 if one of them failed to run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default"
    )
    failed = []
    for name in parser.parse_args().names or BENCHMARKS:
        # A process of its own: engines, threads and memory of one do not weigh on the next.
        done = subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"did not finish: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
