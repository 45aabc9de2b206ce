"""The command `pipeline_assets`: parses arguments and hands over to `pipeline_assets.command`."""

import argparse
import os
import sys
from collections.abc import Sequence

DESCRIPTION = """\
Tabular data to a registered, monitored model, as Dagster assets.

A use case is a folder with a defs.yaml below pipeline_assets/defs, e.g. churn. A first walk:

  pipeline_assets check          is this machine ready?
  pipeline_assets run churn      the whole chain: raw files to registered model
  pipeline_assets show churn     what is published now, with metrics and rejected rows
  make ui                        the same in Dagster's UI, with history and checks
"""

ENVIRONMENT = """\
environment variables:
  PIPELINE_ENV      where to run: local (default), cluster, or the path of a YAML file
  PIPELINE_ENGINE   data engine: sail (embedded, no Java), spark (Apache Spark here), remote
  PIPELINE_HOME     folder of all generated files; the current folder by default
  PIPELINE_LAKE     where versions are published, e.g. s3://bucket/lake; data/lake by default
  DAGSTER_HOME      Dagster's runs, events and logs; .dagster in the home by default

exit status: 0 fine, 1 it failed or found problems, 2 wrong usage or settings, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The argument parser of all subcommands."""
    form = argparse.RawDescriptionHelpFormatter
    root = argparse.ArgumentParser(
        prog="pipeline_assets", description=DESCRIPTION, epilog=ENVIRONMENT, formatter_class=form
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, help_text: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=help_text, description=description, formatter_class=form
        )

    run = add(
        "run",
        "run a use case from source files to registered model",
        "Launches the Dagster job <use_case>_full (as `dg launch --job` does) and shows a line per stage,\n"
        "warnings and training epochs. Then: rows, rejected rows by rule, test metrics against the\n"
        "baselines, where report and log are. Run it again at any time: unchanged input gives the same\n"
        "data versions, and readers see the old version of an asset until the new one has passed its checks.",
    )
    run.add_argument("use_case", help="name of a folder below pipeline_assets/defs, e.g. churn")

    show = add(
        "show",
        "what a use case has published",
        "Reads manifests only: versions, rows, rejected rows by rule, metrics with intervals, registered\n"
        "model, report, cost of each stage. Exit status 1 where nothing is published yet.",
    )
    show.add_argument("use_case", help="name of a use case, e.g. churn")
    show.add_argument("--json", action="store_true", help="print all of it as one JSON document")

    verify = add(
        "verify",
        "hash all published files again",
        "Compares every file of every published version with its manifest: missing, changed and unlisted\n"
        "files are named. Exit status 1 if there is one.",
    )
    verify.add_argument("use_case", nargs="?", help="only this use case; all by default")

    add(
        "check",
        "is this machine ready for a run?",
        "Python, packages, disk, lake, use cases and their sources, Java, data engine, MLflow, torch: each\n"
        "ok, warn or fail, with what to do. Exit status 1 if one fails.",
    )

    replay = add(
        "replay",
        "would rejected rows pass the contract now?",
        "After the contract or the source was mended: counts the quarantined rows that would pass now.\n"
        "Changes nothing, unless --launch starts the job <use_case>_replay.",
    )
    replay.add_argument("use_case", help="name of a use case, e.g. churn")
    replay.add_argument("--launch", action="store_true", help="launch the job after the preview")

    sweep = add(
        "sweep",
        "the quickest batch size, number of ranks and precision here",
        "Takes real training steps on the published shards, a few seconds for each candidate, and prints how\n"
        "many rows a second this machine trains. What is trained is thrown away; nothing is published.\n\n"
        "  dataloader   batch sizes (powers of two from a quarter of the configured one on, for as long as they\n"
        "               gain and memory lasts) with ranks, which are the workers here, and threads\n"
        "  precision    float32, tf32, bfloat16, float16, with the validation loss after the same steps\n\n"
        "Take over what it finds by hand: training.batch_size and training.precision in defs.yaml (a larger\n"
        "batch may want a higher learning_rate), training.processes in the environment file. Other work on the\n"
        "machine spoils the figures. Needs a use case that was run before.",
    )
    sweep.add_argument("use_case", help="name of a use case, e.g. churn")
    sweep.add_argument(
        "--what",
        choices=("dataloader", "precision"),
        default="dataloader",
        help="what to try (default: dataloader)",
    )
    sweep.add_argument(
        "--seconds", type=float, default=2.0, help="time for each candidate (default: 2)"
    )
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Mistakes of the person at the keyboard give one message on stderr and status 2, no stack trace.
    """
    options = parser().parse_args(arguments)
    os.environ.setdefault("RUST_LOG", "error")  # the embedded engine's own log
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from pipeline_assets.command.errors import domain_errors

    try:
        return _dispatch(options)
    except domain_errors() as error:
        print(f"pipeline_assets {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has left: what Python still wants to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if options.command == "run" else 0


def _dispatch(options: argparse.Namespace) -> int:
    """Import and call one subcommand; each imports only what it needs."""
    if options.command == "run":
        from pipeline_assets.command.run import run

        return run(options.use_case)
    if options.command == "show":
        from pipeline_assets.command.show import show

        return show(options.use_case, as_json=options.json)
    if options.command == "verify":
        from pipeline_assets.command.verify import verify

        return verify(options.use_case)
    if options.command == "replay":
        from pipeline_assets.command.replay import replay

        return replay(options.use_case, launch=options.launch)
    if options.command == "sweep":
        from pipeline_assets.command.sweep import sweep_use_case

        return sweep_use_case(options.use_case, options.what, seconds=options.seconds)
    from pipeline_assets.command.doctor import check

    return check()


if __name__ == "__main__":
    sys.exit(main())
