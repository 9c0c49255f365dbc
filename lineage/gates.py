"""The version policy and quality gates of the guide's Appendix B, as rules over plain facts.

- A changed schema is a MAJOR version and needs an architecture review.
- A new source of data is a MINOR version; anything else a PATCH.
- Added, removed and modified rows beyond 10 % of the old rows need a manual review.
- Each metric has to lie within its limits, both ends included; a metric that is missing fails.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

CHANGE_LIMIT_PERCENT = 10
PASS, REVIEW, FAIL = "pass", "review", "fail"
_SEMVER = re.compile(r"(v?)(\d{1,9})\.(\d{1,9})\.(\d{1,9})", re.ASCII)

Schema = Mapping[str, str]  # column -> type


@dataclass(frozen=True)
class Limit:
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Candidate:
    """What the new version would be. `schema` and `sources` None: not said, so as before."""

    schema: Schema | None = None
    sources: Collection[str] | None = None
    rows_added: int = 0
    rows_removed: int = 0
    rows_modified: int = 0


@dataclass(frozen=True)
class Current:
    """What there is now. `rows` None: unknown."""

    version: str = ""
    schema: Schema = field(default_factory=dict)
    sources: Collection[str] = ()
    rows: int | None = None


@dataclass(frozen=True)
class Reason:
    """One rule's finding: `effect` is pass, review or fail."""

    rule: str
    effect: str
    text: str


@dataclass(frozen=True)
class Verdict:
    verdict: str
    reasons: tuple[Reason, ...]
    change: str  # major, minor or patch
    next_version: str | None


def evaluate(
    candidate: Candidate,
    current: Current,
    metrics: Mapping[str, float],
    limits: Mapping[str, Limit],
) -> Verdict:
    """What the policy says about the candidate; the worst effect of any rule is the verdict."""
    reasons = [
        *_schema_reasons(candidate.schema, current.schema),
        *_source_reasons(candidate.sources, current.sources),
        *_change_reasons(candidate, current.rows),
        *_metric_reasons(metrics, limits),
    ]
    effects = {reason.effect for reason in reasons}
    rules = {reason.rule for reason in reasons}
    change = "major" if "schema" in rules else "minor" if "sources" in rules else "patch"
    verdict = FAIL if FAIL in effects else REVIEW if REVIEW in effects else PASS
    return Verdict(verdict, tuple(reasons), change, next_version(current.version, change))


def next_version(version: str, change: str) -> str | None:
    """MAJOR.MINOR.PATCH after the change; None when the version is not of that form."""
    found = _SEMVER.fullmatch(version)
    if found is None:
        return None
    major, minor, patch = (int(number) for number in found.groups()[1:])
    if change == "major":
        major, minor, patch = major + 1, 0, 0
    elif change == "minor":
        minor, patch = minor + 1, 0
    else:
        patch += 1
    return f"{found[1]}{major}.{minor}.{patch}"


def _schema_reasons(new: Schema | None, old: Schema) -> list[Reason]:
    if new is None or not old or dict(new) == dict(old):
        return []
    parts = [
        ("added", sorted(new.keys() - old.keys())),
        ("removed", sorted(old.keys() - new.keys())),
        ("of another type", sorted(c for c in new.keys() & old.keys() if new[c] != old[c])),
    ]
    said = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
    return [
        Reason("schema", REVIEW, f"The schema changes ({said}): it needs an architecture review.")
    ]


def _source_reasons(new: Collection[str] | None, old: Collection[str]) -> list[Reason]:
    added = sorted(set(new or ()) - set(old))
    if not added:
        return []
    return [Reason("sources", PASS, f"New sources of data: {', '.join(added)}.")]


def _change_reasons(candidate: Candidate, old_rows: int | None) -> list[Reason]:
    changed = candidate.rows_added + candidate.rows_removed + candidate.rows_modified
    if not changed:
        return []
    if not old_rows:
        what = "The old version has no rows" if old_rows == 0 else "The old rows are not known"
        return [Reason("change", REVIEW, f"{what}, so the share of change cannot be told.")]
    # Whole numbers, so that exactly 10 % is not more than 10 %.
    if changed * 100 <= old_rows * CHANGE_LIMIT_PERCENT:
        return []
    return [
        Reason(
            "change", REVIEW,
            f"{changed:,} of {old_rows:,} rows change ({changed * 100 / old_rows:.1f} %);"
            f" more than {CHANGE_LIMIT_PERCENT} % needs a manual review.",
        )
    ]  # fmt: skip


def _metric_reasons(metrics: Mapping[str, float], limits: Mapping[str, Limit]) -> Sequence[Reason]:
    reasons = []
    for name, limit in sorted(limits.items()):
        value = metrics.get(name)
        if value is None:
            reasons.append(Reason("quality", FAIL, f"The metric {name} is missing."))
        elif limit.min is not None and not value >= limit.min:  # so that NaN fails
            reasons.append(Reason("quality", FAIL, f"{name} is {value}, at least {limit.min}."))
        elif limit.max is not None and not value <= limit.max:
            reasons.append(Reason("quality", FAIL, f"{name} is {value}, at most {limit.max}."))
    return reasons
