"""Where work on files is done: in this process, or by the workers of a Spark-Connect cluster."""

from connectors.engines.base import Engine, EngineError, FileTask, Local, RunsTasks
from connectors.engines.settings import OPTIONS, engine_of

__all__ = ["OPTIONS", "Engine", "EngineError", "FileTask", "Local", "RunsTasks", "engine_of"]
