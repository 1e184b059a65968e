"""The edge. Its core is the compiled one, where that is installed."""

from edge import compiled_core

__path__[:0] = compiled_core.PATH
