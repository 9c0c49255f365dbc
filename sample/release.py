"""Which version of the model is in use, as the model team decides it."""

from typing import Any

from sample.company import MODEL
from sample.rest import Vestige


def put_first_in_use(vestige: Vestige, version: str) -> None:
    """Puts the version in use unless somebody has decided on any version before."""
    path, known = _model(vestige)
    if not any(v["in_use"] or v["retired_at"] for v in known):
        vestige.post(f"{path}/{version}/use")


def replace_in_use(vestige: Vestige, version: str) -> list[str]:
    """Puts the version in use and retires every other; returns those that were retired."""
    path, known = _model(vestige)
    vestige.post(f"{path}/{version}/use")
    others = [v["version"] for v in known if v["version"] != version and not v["retired_at"]]
    for other in others:
        vestige.post(f"{path}/{other}/retire")
    return others


def _model(vestige: Vestige) -> tuple[str, list[dict[str, Any]]]:
    found = vestige.entry("models", MODEL.namespace, MODEL.name)
    path = f"/api/v1/models/{found['id']}/versions"
    return path, list(vestige.listed(path))
