"""The guide's DataSheet: the expected text is what the guide's own code prints."""

import json
from dataclasses import replace
from pathlib import Path

from datasheets.guide import DataSheet

DATA = Path(__file__).parent / "data"
EXAMPLE = json.loads((DATA / "guide_datasheet.json").read_text())


def test_the_guides_example_prints_the_same_bytes() -> None:
    expected = (DATA / "guide_datasheet.md").read_bytes()
    assert DataSheet(**EXAMPLE).to_markdown().encode() == expected


def test_what_nobody_stated_is_not_said_to_be_no() -> None:
    unstated = dict.fromkeys(("consent_obtained", "instance_count", "creators", "license"))
    sheet = replace(DataSheet(**EXAMPLE), **unstated)
    text = sheet.to_markdown()
    for line in (
        "- **Consent obtained:** Not stated",
        "- **Instance count:** Not stated",
        "- **Creators:** Not stated",
        "- **License:** Not stated",
    ):
        assert line in text
    assert "- **Raw data available:** No\n" in text
