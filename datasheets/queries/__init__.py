"""Reading datasheets and model cards: nouns, and nothing here writes."""
