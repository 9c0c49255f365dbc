"""The `DataSheet` of the Data Versioning & Lineage Guide, section 5.2: its fields, its Markdown.

Its output stays the same byte for byte, because other people's tools read it. The one addition:
what nobody stated is None here and prints "Not stated"; unknown is not No.
"""

from collections.abc import Sequence
from dataclasses import dataclass

NOT_STATED = "Not stated"


def _yes_no(value: object) -> str:
    return NOT_STATED if value is None else ("Yes" if value else "No")


def _said(value: object) -> str:
    return NOT_STATED if value is None else str(value)


def _joined(values: Sequence[str] | None, by: str) -> str:
    return NOT_STATED if values is None else by.join(values)


@dataclass(frozen=True)
class DataSheet:
    """Datasheet for ML Datasets (Gebru et al. 2021), the guide's twenty fields."""

    purpose: str | None
    creators: Sequence[str] | None
    funding: str | None
    instance_count: int | None
    data_types: Sequence[str] | None
    sampling_strategy: str | None
    is_sample: bool | None
    collection_mechanism: str | None
    collection_timeframe: str | None
    ethical_review: bool | None
    consent_obtained: bool | None
    preprocessing_steps: Sequence[str] | None
    raw_data_available: bool | None
    intended_uses: Sequence[str] | None
    not_suitable_for: Sequence[str] | None
    license: str | None
    access_restrictions: str | None
    maintainer: str | None
    update_frequency: str | None
    versioning_scheme: str | None

    def to_markdown(self) -> str:
        count = NOT_STATED if self.instance_count is None else f"{self.instance_count:,}"
        return f"""
# Datasheet for {_said(self.purpose)}

## Motivation
- **Purpose:** {_said(self.purpose)}
- **Creators:** {_joined(self.creators, ", ")}
- **Funding:** {self.funding or "Not specified"}

## Composition
- **Instance count:** {count}
- **Data types:** {_joined(self.data_types, ", ")}
- **Sampling strategy:** {_said(self.sampling_strategy)}
- **Is sample of larger dataset:** {_said(self.is_sample)}

## Collection Process
- **Mechanism:** {_said(self.collection_mechanism)}
- **Timeframe:** {_said(self.collection_timeframe)}
- **Ethical review:** {_yes_no(self.ethical_review)}
- **Consent obtained:** {_yes_no(self.consent_obtained)}

## Preprocessing
- **Steps:** {_joined(self.preprocessing_steps, "; ")}
- **Raw data available:** {_yes_no(self.raw_data_available)}

## Uses
- **Intended uses:** {_joined(self.intended_uses, "; ")}
- **Not suitable for:** {_joined(self.not_suitable_for, "; ")}

## Distribution
- **License:** {_said(self.license)}
- **Access restrictions:** {_said(self.access_restrictions)}

## Maintenance
- **Maintainer:** {_said(self.maintainer)}
- **Update frequency:** {_said(self.update_frequency)}
- **Versioning:** {_said(self.versioning_scheme)}
"""
