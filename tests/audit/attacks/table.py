"""The table of attacks in docs/threat-model.md: written from results, and read back."""

import json
from pathlib import Path
from typing import Any

from tests.audit.attacks.attack import BOTH, SQLITE, Attack
from tests.audit.attacks.catalogue import ATTACKS

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "threat-model.md"
BEGIN = "<!-- attacks: written by `make attacks` -->"
END = "<!-- attacks: end -->"
HEADING = (
    "| attack | who can | triggers refuse it | caught by | the first says | ms, SQLite |"
    " ms, PostgreSQL |"
)
_LONGEST = 160

Results = dict[tuple[str, str], dict[str, Any]]  # (vendor, name of the attack) → what it gave


def results_in(path: Path) -> Results:
    rows = map(json.loads, path.read_text().splitlines())
    return {(row["vendor"], row["name"]): row for row in rows}


def rewrite(results: Results) -> None:
    """Put the table of these results between its marks in the document."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [HEADING, "|---|---|---|---|---|---|---|"]
    lines += [line([*cells(attack), *measured(attack, results)]) for attack in ATTACKS]
    DOCUMENT.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)


def written() -> list[list[str]]:
    """The cells of each row of the table as it stands in the document."""
    table = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    return [
        [cell.strip().replace("\\|", "|") for cell in row.strip("|").split(" | ")]
        for row in table.strip().splitlines()[2:]
    ]


def cells(attack: Attack) -> list[str]:
    """What the table says of an attack without having run it."""
    return [attack.name + _only(attack.vendors), attack.by, _refused(attack), _caught(attack)]


def measured(attack: Attack, results: Results) -> list[str]:
    """The first sentence, and the milliseconds that it took on each database."""
    found = [results.get((vendor, attack.name)) for vendor in ("sqlite", "postgresql")]
    first = [row["caught"][0] if row and row["caught"] else None for row in found]
    said = next((one["said"] for one in first if one), "-")
    if len(said) > _LONGEST:
        said = said[:_LONGEST].rpartition(" ")[0] + " …"
    return [said, *(f"{one['ms']:.0f}" if one else "-" for one in first)]


def line(row: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _only(vendors: frozenset[str]) -> str:
    if vendors == BOTH:
        return ""
    return " (SQLite)" if vendors == SQLITE else " (PostgreSQL)"


def _refused(attack: Attack) -> str:
    if attack.refused is None:
        return "-"
    if not attack.refused:
        return "no"
    return "yes" if attack.refused >= attack.vendors else f"yes{_only(attack.refused)}"


def _caught(attack: Attack) -> str:
    names = list(attack.caught)
    names += [f"{name} (SQLite)" for name in attack.only_sqlite]
    return ", ".join(names) or "**nobody**"
