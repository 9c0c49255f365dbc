"""What lineage writes into the log. Names of persons, and what a SQL text says, stay out of it."""

from audit.events import define

LINEAGE_RECEIVED = define(
    "lineage.received",
    "protocol", "kind", "body_sha256", "bytes", "state", "run_id", "inputs", "outputs",
)  # fmt: skip
DATASET_REGISTERED = define("dataset.registered", "kind", "was")
DATASET_DESCRIBED = define("dataset.described", "fields")
DATASET_OWNER_SET = define("dataset.owner_set", "owner")
VERSION_RECORDED = define(
    "dataset.version_recorded", "known_by", "digest", "rows", "bytes", "run_id", "source"
)
# `because`: the request that asked for it, if one did.
VERSION_PURGED = define("dataset.version_purged", "digest", "rows", "because")
VERSION_RETURNED = define("dataset.version_returned", "digest", "rows", "because")
# By an erasure of ours: no finding. `now`: the name that it has since, where it lost its own.
VERSION_REWRITTEN = define(
    "dataset.version_rewritten", "digest_before", "digest_after", "rows", "now", "because"
)
# A finding: a version is immutable, so another content under the same name is an alarm.
VERSION_CHANGED = define("dataset.version_changed", "digest_before", "digest_after", "because")
STORE_SYNCED = define(
    "connector.synced",
    "dataset", "versions", "added", "purged", "renamed", "returned", "changed", "because",
)  # fmt: skip
MODEL_PUT_IN_USE = define("model.put_in_use")
MODEL_RETIRED = define("model.retired")
USAGE_RECORDED = define("usage.recorded", "data_id", "model_id", "model_version")
USAGE_READ = define("usage.read", "records")
USAGE_ERASED = define("usage.erased", "records", "because")
PREDICTION_EXPLAINED = define("prediction.explained", "usage")
GATE_EVALUATED = define("gate.evaluated", "verdict", "rules", "next_version")
