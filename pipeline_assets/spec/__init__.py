"""The typed use-case specification: what to build, never where it runs."""

from pipeline_assets.spec.contract import Column, Contract, RowRule, TableRules
from pipeline_assets.spec.evaluation import BusinessMetric, Evaluation, Gate, Slice, ThresholdGoal
from pipeline_assets.spec.features import Feature, Features, Label, Split
from pipeline_assets.spec.joined import JoinedSource
from pipeline_assets.spec.monitoring import Monitoring
from pipeline_assets.spec.rolling import Aggregation, Rolling
from pipeline_assets.spec.source import CsvOptions, DemoData, Source
from pipeline_assets.spec.time import Time, TimeSplit
from pipeline_assets.spec.training import ModelSettings, TrainingSettings
from pipeline_assets.spec.tuning import Domain, Tuning
from pipeline_assets.spec.use_case import Registry, Schedule, UseCase

__all__ = [
    "Aggregation",
    "BusinessMetric",
    "Column",
    "Contract",
    "CsvOptions",
    "DemoData",
    "Domain",
    "Evaluation",
    "Feature",
    "Features",
    "Gate",
    "JoinedSource",
    "Label",
    "ModelSettings",
    "Monitoring",
    "Registry",
    "Rolling",
    "RowRule",
    "Schedule",
    "Slice",
    "Source",
    "Split",
    "TableRules",
    "ThresholdGoal",
    "Time",
    "TimeSplit",
    "TrainingSettings",
    "Tuning",
    "UseCase",
]
