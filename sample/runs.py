"""What the sample company's jobs did, told from what is left of it.

The commits of the Delta logs and the cards of the models say which job wrote what, from what and
when. So a second process tells the same runs with the same times, and after an erasure, which
purges history, only what is still true is told.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sample.company import (
    FEATURES,
    JOBS,
    MODEL,
    PREDICTIONS,
    PURCHASES,
    SOURCE,
    SOURCE_FILE,
    WINDOW,
    Dataset,
    Job,
)
from sample.tables import TableVersion, all_versions
from sample.training import TrainedModel, kept_models

Tables = dict[tuple[str, int], TableVersion]


@dataclass(frozen=True)
class State:
    """A version of a dataset or model that a run read or wrote.

    `rows` is the number read or written by the run, `bytes` likewise; None where it is not known.
    `change` is CREATE (the first version), OVERWRITE (nothing older is left in it) or "".
    """

    dataset: Dataset
    version: str
    rows: int | None = None
    bytes: int | None = None
    columns: tuple[tuple[str, str], ...] = ()
    change: str = ""
    model: TrainedModel | None = None


@dataclass(frozen=True)
class Ran:
    """One finished run of a job. `key` tells it from the job's other runs; times aware UTC.

    `period` is the first and the last day that the run worked on, where there is such a thing.
    """

    job: Job
    key: str
    started_at: datetime
    ended_at: datetime
    reads: tuple[State, ...] = ()
    writes: tuple[State, ...] = ()
    parent: "Ran | None" = None
    period: tuple[date, date] | None = None


def runs_of(store: Path, models: Path, *, since: datetime | None = None) -> list[Ran]:
    """Every run, parents before their children; `since` leaves older ones out."""
    tables = all_versions(store)
    found = _family("import_history", "1997-01/1998-06", _of_job(tables, "load_month", _load))
    found += _of_job(tables, "correct", _repair)
    found += _of_job(tables, "clean", _repair)
    found += _of_job(tables, "build_features", _features)
    scored = {run.key: run for run in _of_job(tables, "predict", _scores)}
    for model in kept_models(models):
        steps = [_training(tables, model)]
        if (scoring := scored.get(str(model.version))) is not None:
            steps.append(scoring)
        found += _family("release", str(model.version), steps)
    return [run for run in found if since is None or run.started_at >= since]


def source_version() -> str:
    """The published file's version: the first 12 characters of its SHA-256."""
    return hashlib.sha256(SOURCE_FILE.read_bytes()).hexdigest()[:12]


def _of_job(tables: Tables, job: str, tell: Callable[[Tables, TableVersion], Ran]) -> list[Ran]:
    return [tell(tables, made) for made in tables.values() if made.facts.get("job") == job]


def _family(job: str, key: str, children: Sequence[Ran]) -> list[Ran]:
    """A parent run that spans its children, followed by them."""
    if not children:
        return []
    parent = Ran(
        job=JOBS[job],
        key=key,
        started_at=min(child.started_at for child in children),
        ended_at=max(child.ended_at for child in children),
    )
    return [parent, *(replace(child, parent=parent) for child in children)]


def _load(tables: Tables, made: TableVersion) -> Ran:
    month = datetime.strptime(made.facts["month"], "%Y%m").replace(tzinfo=UTC).date()
    last = (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    source = State(SOURCE, source_version(), made.rows_written)
    # An append carries on what the table held: it reads the version before, so that everything
    # that is later found wrong in a month can be followed into all later versions.
    before = (_read(tables, PURCHASES, made.version - 1),) if made.version else ()
    return _wrote(made, key=f"{month:%Y-%m}", reads=(source, *before), period=(month, last))


def _repair(tables: Tables, made: TableVersion) -> Ran:
    return _wrote(made, key=str(made.version), reads=(_read(tables, PURCHASES, made.version - 1),))


def _features(tables: Tables, made: TableVersion) -> Ran:
    as_of = date.fromisoformat(made.facts["as_of"])
    source = _read(tables, PURCHASES, int(made.facts["purchases_version"]))
    return _wrote(made, key=str(made.version), reads=(source,), period=(as_of, as_of + WINDOW))


def _scores(tables: Tables, made: TableVersion) -> Ran:
    quarter = _read(tables, FEATURES, int(made.facts["features_version"]))
    model = State(MODEL, made.facts["model_version"])
    before = (_read(tables, PREDICTIONS, made.version - 1),) if made.version else ()
    return _wrote(made, key=model.version, reads=(quarter, model, *before))


def _training(tables: Tables, model: TrainedModel) -> Ran:
    # The test quarter is not among the inputs: nothing of it went into the model.
    return Ran(
        job=JOBS["train"],
        key=str(model.version),
        started_at=datetime.fromisoformat(model.started_at),
        ended_at=datetime.fromisoformat(model.trained_at),
        reads=(_read(tables, FEATURES, model.features_version),),
        writes=(State(MODEL, str(model.version), bytes=model.bytes, model=model),),
    )


def _read(tables: Tables, dataset: Dataset, version: int) -> State:
    found = tables.get((dataset.name, version))
    return State(dataset, str(version), found.rows if found else None)


def _wrote(
    made: TableVersion,
    *,
    key: str,
    reads: tuple[State, ...],
    period: tuple[date, date] | None = None,
) -> Ran:
    change = "CREATE" if not made.version else "OVERWRITE" if made.replaces else ""
    written = State(
        made.dataset,
        str(made.version),
        made.rows_written,
        made.bytes if made.rows_written == made.rows else None,
        made.columns,
        change,
    )
    return Ran(
        job=JOBS[made.facts["job"]],
        key=key,
        started_at=datetime.fromisoformat(made.facts["started_at"]),
        ended_at=made.written_at,
        reads=reads,
        writes=(written,),
        period=period,
    )
