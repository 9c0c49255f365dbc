"""Cells of CSV files that people open in a spreadsheet."""

# A spreadsheet runs what begins with these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(text: str) -> str:
    """The text, behind an apostrophe where a spreadsheet would run it (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA) else text
