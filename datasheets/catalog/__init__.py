"""The questions of a datasheet and of a model card, as data: `datasheet.yaml`, `model_card.yaml`.

The wording of the datasheet's questions is that of Gebru et al., "Datasheets for Datasets", CACM
64(12), 2021; the model card's sections are those of Mitchell et al., "Model Cards for Model
Reporting", 2019. Each file names its source.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

Kind = Literal["datasheet", "model_card"]
DATASHEET: Literal["datasheet"] = "datasheet"
MODEL_CARD: Literal["model_card"] = "model_card"
# How an answer is written down; see `datasheets.values`.
Shape = Literal["text", "list", "yes_no", "choice"]

_FOLDER = Path(__file__).parent
# Where the datasheet's fields beyond the paper are shown, by the second part of their id.
_EXTENSION_SECTIONS = {
    "scope": ("Scope and personal data", ("gate", "subjects", "synthetic")),
    "limits": (
        "Bias, gaps and assumptions",
        ("bias", "gaps", "assumptions", "availability", "geography", "special_categories"),
    ),
    "ropa": ("Record of processing activities (GDPR, Article 30)", ("ropa",)),
    "art53": ("Training content (AI Act, Article 53)", ("art53",)),
    "evidence": ("Identity, evidence and sign-off", ("identity", "evidence", "quality", "signoff")),
}
_EXAMPLES = re.compile(r"\s*\((?:e\.g\.|i\.e\.)[^()]*(?:\([^()]*\)[^()]*)*\)")
_VOCABULARIES = ("hf", "croissant", "google_mct", "cyclonedx", "spdx3", "maps_to")


@dataclass(frozen=True)
class Section:
    key: str
    title: str


@dataclass(frozen=True)
class Question:
    """One thing to state. `fill`: auto (computed), assisted (drafted, confirmed) or human."""

    id: str
    number: int | None
    section: str
    title: str
    follow_up: str
    answer_type: str
    fill: Literal["auto", "assisted", "human"]
    weight: int
    applies_if: str
    computed_from: str
    regulation: tuple[str, ...]
    stale_when: tuple[str, ...]
    vocabularies: Mapping[str, tuple[str, ...]]

    @property
    def short_title(self) -> str:
        """The question without its examples in brackets."""
        return _EXAMPLES.sub("", self.title)

    @property
    def shape(self) -> Shape:
        if self.answer_type.startswith(("bool", "enum")):
            return "choice" if self.options else "yes_no" if self._is_bool else "text"
        return "list" if self.answer_type.startswith("list") else "text"

    @property
    def _is_bool(self) -> bool:
        return self.answer_type.startswith("bool")

    @property
    def options(self) -> tuple[str, ...]:
        """The words to choose from, where the answer type lists them."""
        if not self.answer_type.startswith("enum["):
            return ()
        listed = self.answer_type[5 : self.answer_type.index("]")]
        return tuple(listed.split(",")) if "," in listed else ()


@dataclass(frozen=True)
class Catalogue:
    kind: Kind
    schema: str
    source: str
    sections: tuple[Section, ...]
    questions: Mapping[str, Question]
    guide_fields: Mapping[str, str]  # field of the guide's DataSheet -> question id

    def in_section(self, key: str) -> list[Question]:
        return [q for q in self.questions.values() if q.section == key]


def _question(entry: Mapping[str, Any], section: str) -> Question:
    return Question(
        id=entry["id"],
        number=entry.get("n"),
        section=section,
        title=entry.get("question") or entry["title"],
        follow_up=entry.get("follow_up") or entry.get("prompt") or "",
        answer_type=entry["answer_type"],
        fill=entry["fill"],
        weight=entry.get("weight", 0),
        applies_if=entry.get("applies_if", ""),
        computed_from="; ".join(entry[k] for k in ("auto_from", "draft_from") if k in entry),
        regulation=tuple(entry.get("regulation", ())),
        stale_when=tuple(entry.get("stale_when", ())),
        vocabularies={key: tuple(entry[key]) for key in _VOCABULARIES if entry.get(key)},
    )


def _extension_section(question_id: str) -> str:
    part = question_id.split(".")[1]
    return next(key for key, (_, parts) in _EXTENSION_SECTIONS.items() if part in parts)


@cache
def catalogue(kind: Kind) -> Catalogue:
    """The questions of this kind of document, in their order."""
    data = yaml.safe_load((_FOLDER / f"{kind}.yaml").read_text())
    own = [_question(e, e["section"]) for e in data.get("questions") or data["fields"]]
    extensions = [_question(e, _extension_section(e["id"])) for e in data.get("extensions", ())]
    sections = [Section(s["key"], s["title"]) for s in data["sections"]]
    if extensions:
        sections += [Section(key, title) for key, (title, _) in _EXTENSION_SECTIONS.items()]
    return Catalogue(
        kind=kind,
        schema=data["schema"],
        source=data["source"],
        sections=tuple(sections),
        questions={q.id: q for q in [*own, *extensions]},
        guide_fields=data.get("guide_dataclass", {}).get("primary", {}),
    )
