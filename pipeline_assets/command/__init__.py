"""The package's own command: what is published, whether it is intact, whether this machine is ready, runs.

Reads the lake and launches Dagster's own command line as a subprocess; imports no Dagster. `__main__` parses
the arguments.
"""
