#!/bin/sh
# Run once by the Postgres image, when its volume is empty: MLflow's database beside Dagster's.
set -eu
createdb --username "$POSTGRES_USER" mlflow
