"""Dagster's console log to the lines that people see."""

from pipeline_assets.command.progress import Progress

RUN = "856d17e7-acd6-415d-b2f6-05913eb0ce56"
START = "2026-11-21 01:50:46 +0000 - dagster - "


def event(kind: str, step: str | None, text: str, level: str = "DEBUG") -> str:
    where = f"{step} - " if step else ""
    return f"{START}{level} - churn_full - {RUN} - 13405 - {where}{kind} - {text}"


def message(level: str, step: str, text: str) -> str:
    return f"{START}{level} - churn_full - {RUN} - {step} - {text}"


def shown(lines: list[str]) -> tuple[Progress, list[str]]:
    ticks = iter(range(1000))
    progress = Progress("churn", clock=lambda: float(next(ticks)))
    found = [text for line in lines for text in progress.feed(line + "\n")]
    return progress, [line[11:] for line in [*found, *progress.flush()]]


def test_a_stage_is_two_lines():
    progress, lines = shown(
        [
            event("RUN_START", None, 'Started execution of run for "churn_full".'),
            event("STEP_START", "churn__raw", 'Started execution of step "churn__raw".'),
            message("INFO", "churn__raw", "reading"),
            "something printed",
            event("STEP_OUTPUT", "churn__raw", "Yielded output"),
            event(
                "ASSET_CHECK_EVALUATION",
                "churn__raw",
                "Asset check 'no_outliers' on 'churn/raw' did not pass. x",
            ),
            event("STEP_SUCCESS", "churn__raw", "Finished execution of step in 67ms."),
            event("RUN_SUCCESS", None, "Finished execution of run."),
        ]
    )
    assert [line.split(maxsplit=1)[0] for line in lines] == ["raw", "raw"]
    assert lines[0].endswith("started")
    assert "done in " in lines[1]
    assert "did not pass: no_outliers" in lines[1]
    assert progress.succeeded
    assert progress.run_id == RUN
    assert progress.output == ["something printed"]


def test_a_stage_whose_end_is_not_in_the_log_is_done_when_the_run_is():
    _, lines = shown(
        [
            event("STEP_START", "churn__raw", "Started"),
            event("STEP_SUCCESS", "churn__raw", "Finished"),
            event("STEP_START", "churn__model_version", "Started"),
            event("RUN_SUCCESS", None, "Finished execution of run."),
        ]
    )
    assert [line.split()[0] for line in lines] == ["raw", "raw", "model_version", "model_version"]
    assert "done in" in lines[-1]


def test_warnings_epochs_waits_and_retries_are_shown():
    _, lines = shown(
        [
            message("WARNING", "churn__raw", "odd - thing"),
            message("INFO", "churn__trained_model", "epoch 1/3  loss 0.5"),
            message("INFO", "churn__trained_model", "something else"),
            event(
                "ENGINE_EVENT", "churn__trained_model", "Step blocked by limit for pool training"
            ),
            event("STEP_UP_FOR_RETRY", "churn__raw", "will be retried"),
            event("STEP_RESTARTED", "churn__raw", "restarted"),
        ]
    )
    assert [" ".join(line.split()) for line in lines] == [
        "raw warning: odd - thing",
        "trained_model epoch 1/3 loss 0.5",
        "trained_model waits: another run is in the same pool",
        "raw warning: will be retried",
        "raw tried again",
    ]


def test_a_failure_keeps_its_own_words_and_no_stack_trace():
    progress, lines = shown(
        [
            event("STEP_START", "churn__validated", "Started"),
            event("STEP_FAILURE", "churn__validated", "Execution failed.", "ERROR"),
            "",
            "dagster._core.definitions.events.Failure: not published: 9% rejected",
            "the limit is 5%",
            "",
            "Stack Trace:",
            '  File "/x.py", line 1, in <module>',
            message("ERROR", "churn__after", "Dependencies for step churn__after failed: []."),
            event("RUN_FAILURE", None, "Execution of run failed.", "ERROR"),
            "",
            "dagster._core.definitions.events.Failure: again",
        ]
    )
    assert [(item.stage, item.message) for item in progress.failures] == [
        ("validated", "not published: 9% rejected\nthe limit is 5%")
    ]
    assert not progress.succeeded
    assert sum("FAILED" in line for line in lines) == 1
    assert not any("Stack" in line or "after" in line for line in lines)


def test_an_unexpected_error_keeps_its_class():
    progress, _ = shown(
        [
            event("STEP_FAILURE", "churn__raw", "Execution failed.", "ERROR"),
            "",
            "dagster._core.errors.DagsterExecutionStepExecutionError: Error occurred",
            "",
            "Stack Trace:",
        ]
    )
    assert progress.failures[0].message.endswith(
        "DagsterExecutionStepExecutionError: Error occurred"
    )


def test_colours_do_not_matter():
    _, lines = shown(["\x1b[32m" + event("STEP_START", "churn__raw", "Started") + "\x1b[0m"])
    assert len(lines) == 1


def test_a_run_that_fails_outside_of_its_stages_says_why():
    progress, _ = shown(
        [
            event("RUN_FAILURE", None, "Execution of run failed.", "ERROR"),
            "",
            "dagster._core.errors.DagsterExecutionInterruptedError",
            "Stack Trace:",
        ]
    )
    (failure,) = progress.failures
    assert failure.stage == "(the run)"
    assert failure.message.endswith("DagsterExecutionInterruptedError")
