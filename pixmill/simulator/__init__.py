"""The built-in provider: a real HTTP server that checks, limits, bills and paints for free."""

from pixmill.simulator.embedded import Simulator, run_simulator
from pixmill.simulator.server import serve
from pixmill.simulator.settings import Settings, settings_from_environment

__all__ = [
    "Settings",
    "Simulator",
    "run_simulator",
    "serve",
    "settings_from_environment",
]
