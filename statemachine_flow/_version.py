"""The version, in one place: read by the build, `smf --version` and `statemachine_flow.__version__`."""

__version__ = "0.1.0"
