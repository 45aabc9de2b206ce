"""The Dagster code: the component, resources, and one file per stage. What a stage computes is elsewhere."""
