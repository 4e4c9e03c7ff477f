"""The built-in provider: a real HTTP server that checks, limits, bills and paints like the real one, for free."""

from pixmill.simulator.embedded import Simulator, embedded
from pixmill.simulator.server import serve
from pixmill.simulator.settings import Settings, settings_from_environment

__all__ = ["Settings", "Simulator", "embedded", "serve", "settings_from_environment"]
