"""What people at the sample company answered about their data and their model.

Only what facts cannot tell: counts, times and lineage Vestige fills in by itself. A few questions
stay open on purpose, as they do in life. Facts about the data are of its publication (Fader and
Hardie, "Forecasting Repeat Sales at CDNOW", Interfaces 31(3), 2001).
"""

from collections.abc import Mapping
from typing import Any

from sample.company import MODEL, PURCHASES, SYNTHETIC_EMAIL, Dataset
from sample.rest import Vestige

Answers = Mapping[str, str | list[str]]

DATASHEET: Answers = {
    "ds.motivation.purpose": (
        "Published for research into forecasting repeat purchases. Northgate Records, a made-up "
        "company, uses it as its own purchase history: for sales reports and for the model that "
        "predicts who will buy again."
    ),
    "ds.composition.instances_represent": (
        "Orders of CDs by private customers of an online shop: who, on which day, how many CDs, "
        "for how much. Version 19 and later: a customer's purchases of one day in one row."
    ),
    "ds.collection.acquisition": (
        "Recorded by the shop when the order was placed. Customer numbers stand in place of names. "
        f"E-mail addresses: {SYNTHETIC_EMAIL}"
    ),
    "ds.collection.sampling_strategy": (
        "A systematic one-in-ten sample, 2,357 of 23,570 customers, of everybody who bought for "
        "the first time in the first quarter of 1997. Later customers are not in it."
    ),
    "ds.collection.who_collected": (
        "The shop CDNOW, in the course of its business; published by P. S. Fader and "
        "B. G. S. Hardie. How anybody was paid for it is not known."
    ),
    "ds.uses.other_tasks": [
        "Models of repeat purchase and of customer value",
        "Teaching and testing of the erasure of persons from versioned data",
    ],
    "ds.uses.impact_on_future_uses": (
        "All customers joined in the same three months of 1997, before most people shopped online. "
        "What is learned of them does not carry over to customers of today."
    ),
    "ds.uses.not_suitable": [
        "Decisions about real persons",
        "Conclusions about customers who joined at another time",
        "Judging creditworthiness or character",
    ],
    "ds.distribution.license": (
        "The publication states no licence. The copy used here comes with the Python package "
        "lifetimes, which is under the MIT licence."
    ),
}

MODEL_CARD: Answers = {
    "mc.intended_use.primary_uses": [
        "Choose the tenth of the customers who get next quarter's offer by e-mail"
    ],
    "mc.intended_use.primary_users": ["The marketing team of Northgate Records"],
    "mc.intended_use.out_of_scope": [
        "Prices, credit, or any decision with legal or similarly significant effect on a person",
        "Customers who joined after March 1997: none were in the training data",
    ],
    "mc.intended_use.autonomy_oversight": (
        "It proposes a list; a person of the marketing team releases it and may change it. The "
        "model owner can take the model out of use at any time."
    ),
    "mc.factors.relevant": [
        "Time since the first purchase: new and old customers behave differently",
        "Season: the quarter before Christmas is unlike the others",
    ],
    "mc.evaluation_data.motivation": (
        "The quarter after the training cutoff, for the same customers: the model is used on the "
        "future, so it is tested on what was the future when it was trained."
    ),
    "mc.ethics.mitigations": (
        "Five figures about purchases and no attribute of the person go in. Nobody is worse off "
        "for a low score than without the model: no offer is withdrawn."
    ),
    "mc.caveats.caveats": (
        "A logistic regression on recency, frequency and value. Its probabilities follow the "
        "quarter it was trained on: as demand rises and falls with the season they are too low or "
        "too high, while the order of the customers holds. Retrain each quarter."
    ),
}


def answer_datasheet(vestige: Vestige) -> int:
    """Answers what has no answer yet in the datasheet of the purchases; returns how many."""
    return _answer(vestige, "datasets", "datasheets", PURCHASES, DATASHEET)


def answer_model_card(vestige: Vestige) -> int:
    """The same for the model card."""
    return _answer(vestige, "models", "model-cards", MODEL, MODEL_CARD)


def _answer(
    vestige: Vestige, registry: str, documents: str, about: Dataset, answers: Answers
) -> int:
    path = f"/api/v1/{documents}/{vestige.entry(registry, about.namespace, about.name)['id']}"
    answered: Mapping[str, Any] = vestige.get(path).get("answers") or {}
    # What somebody changed since stays as they wrote it.
    missing = {key: {"value": value} for key, value in answers.items() if key not in answered}
    if missing:
        vestige.put(path, {"answers": missing})
    return len(missing)
