"""What connectors write into the log: never a location's path, which may name a person."""

from audit.events import define

CONNECTOR_CREATED = define(
    "connector.created", "kind", "dataset", "location_sha256", "subject_columns", "queue"
)
CONNECTOR_DISABLED = define("connector.disabled")
CONNECTOR_INDEXED = define(
    "connector.indexed", "files", "files_hashed", "entries", "bytes", "machine"
)
CONNECTOR_TESTED = define("connector.tested", "reachable", "versions", "reason_sha256")
CONNECTOR_TAILS_STATED = define("connector.tails_stated", "tails")
