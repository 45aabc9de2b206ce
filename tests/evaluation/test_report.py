import re
from html.parser import HTMLParser

import pytest

from pipeline_assets.evaluation.plots import evaluation_plots
from pipeline_assets.evaluation.report import render_report


class _Checker(HTMLParser):
    VOID = {"meta", "img", "br", "link", "input"}

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                self.sources.append(value)
            if tag == "img" and name == "alt":
                assert value

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def html(evaluation):
    return render_report(evaluation)


def test_the_report_is_whole_and_needs_nothing_from_elsewhere(html):
    checker = _Checker()
    checker.feed(html)
    assert checker.open == []
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in checker.sources)
    assert "<script" not in html and "@import" not in html and "url(" not in html
    anchors = {source[1:] for source in checker.sources if source.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]+)"', html))


def test_texts_from_the_use_case_are_escaped(html):
    assert "Who &lt;comes&gt; back" in html and "country = &lt;Spain&gt;" in html


def test_the_report_holds_the_figures(html, evaluation):
    text = " ".join(html.split())
    for predictor in [evaluation.model, *evaluation.baselines]:
        assert f"{predictor.metrics['log_loss'].value:.4f}" in text
    assert evaluation.verdict.reason.split(";")[0] in text
    assert "0123456789abcdef" in text
    assert f"{evaluation.best_possible_auc.value:.4f}" in text


def test_every_plot_is_drawn_and_the_same_each_time(evaluation):
    plots = evaluation_plots(evaluation)
    assert list(plots) == [
        "roc",
        "precision_recall",
        "calibration",
        "lift",
        "confusion",
        "slices",
        "importance",
    ]
    assert all(data.startswith(b"\x89PNG") for data in plots.values())
    assert plots == evaluation_plots(evaluation)


def test_one_class_only_leaves_out_what_cannot_be_drawn(evaluation):
    model = evaluation.model
    gone = "false_positive_rate true_positive_rate recall precision lift targeted"
    empty = model.curves.model_copy(update={name: [] for name in gone.split()})
    odd = evaluation.model_copy(
        update={
            "model": model.model_copy(update={"curves": empty}),
            "importance": [],
            "slices": [],
            "worst_slice": None,
            "baselines": [],
            "comparisons": [],
            "best_possible_auc": None,
            "verdict": None,
        }
    )
    assert set(evaluation_plots(odd)) == {"calibration", "confusion"}
    assert "No slices are declared" in render_report(odd)
