"""What goes wrong in generating demo data."""


class DemoDataError(Exception):
    """Demo data that cannot be generated."""
