"""Reading lineage."""

from lineage.queries.graph import GraphError, graph
from lineage.queries.impact import (
    AffectedModel,
    downstream,
    downstream_models,
    models_trained_on_purged,
    training_of,
    training_versions,
    upstream,
)
from lineage.queries.registry import (
    Node,
    NodeError,
    NodeUnknownError,
    datasets_visible_to,
    may_decide_on,
    models_visible_to,
    newest_version,
    resolve,
    version_in_use,
    versions_visible_to,
    with_use,
    with_versions,
    written_versions,
)
from lineage.queries.usage import (
    explanation,
    usage_of_prediction,
    usage_of_subject,
    usage_record,
)

training_data = training_versions

__all__ = [
    "AffectedModel",
    "GraphError",
    "Node",
    "NodeError",
    "NodeUnknownError",
    "datasets_visible_to",
    "downstream",
    "downstream_models",
    "explanation",
    "graph",
    "may_decide_on",
    "models_trained_on_purged",
    "models_visible_to",
    "newest_version",
    "resolve",
    "training_data",
    "training_of",
    "training_versions",
    "upstream",
    "usage_of_prediction",
    "usage_of_subject",
    "usage_record",
    "version_in_use",
    "versions_visible_to",
    "with_use",
    "with_versions",
    "written_versions",
]
