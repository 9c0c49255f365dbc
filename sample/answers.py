"""What people at the sample company answered about their data and their model.

Only what facts cannot tell: counts, times and lineage Vestige fills in by itself. A few questions
stay open on purpose, as they do in life. Facts about the data are of its publication (Fader and
Hardie, "Forecasting Repeat Sales at CDNOW", Interfaces 31(3), 2001).
"""

from collections.abc import Mapping
from typing import Any

from sample.company import MODEL, PURCHASES, SYNTHETIC_EMAIL, Dataset
from sample.rest import Vestige

Answers = Mapping[str, Mapping[str, Any]]


def _said(value: str | list[str]) -> dict[str, Any]:
    return {"value": value}


def _yes(text: str) -> dict[str, Any]:
    return {"value": {"answer": True, "text": text}}


def _no(text: str) -> dict[str, Any]:
    return {"value": {"answer": False, "text": text}}


def _choice(option: str, text: str) -> dict[str, Any]:
    return {"value": {"answer": option, "text": text}}


def _unknown(reason: str) -> dict[str, Any]:
    return {"state": "unknown", "reason": reason}


_NOT_PUBLISHED = "Neither the file nor the package it came with says."

DATASHEET: Answers = {
    "ds.motivation.purpose": _said(
        "Published for research into forecasting repeat purchases. Northgate Records, a made-up "
        "company, uses it as its own purchase history: for sales reports and for the model that "
        "predicts who will buy again."
    ),
    "ds.motivation.funding": _unknown(_NOT_PUBLISHED),
    "ds.composition.instances_represent": _said(
        "Orders of CDs by private customers of an online shop: who, on which day, how many CDs, "
        "for how much. Version 19 and later: a customer's purchases of one day in one row."
    ),
    "ds.composition.is_sample": _yes(
        "A one-in-ten sample of all customers who bought for the first time in the first quarter "
        "of 1997. Customers of other times are not in it."
    ),
    "ds.composition.errors_noise_redundancies": _yes(
        "21 orders repeat another one in every field and were taken for orders sent twice (removed "
        "in version 18; the file cannot prove it). Eight orders have the amount zero and were left "
        "out as no purchases (version 19)."
    ),
    "ds.composition.offensive": _no("Days, counts and amounts."),
    "ds.composition.subpopulations": _no("Nothing is known of the customers but their orders."),
    "ds.composition.sensitive": _no(
        "No special category of personal data. What a person spent on CDs, and when, is in it."
    ),
    "ds.collection.acquisition": _said(
        "Recorded by the shop when the order was placed. Customer numbers stand in place of names. "
        f"E-mail addresses: {SYNTHETIC_EMAIL}"
    ),
    "ds.collection.sampling_strategy": _said(
        "A systematic one-in-ten sample, 2,357 of 23,570 customers, of everybody who bought for "
        "the first time in the first quarter of 1997. Later customers are not in it."
    ),
    "ds.collection.who_collected": _said(
        "The shop CDNOW, in the course of its business; published by P. S. Fader and "
        "B. G. S. Hardie. How anybody was paid for it is not known."
    ),
    "ds.collection.timeframe": _said(
        "Orders of 1 January 1997 to 30 June 1998, recorded as they were placed."
    ),
    "ds.collection.direct_or_third_party": _choice(
        "direct", "By the shop, from its own customers, when they ordered."
    ),
    "ds.collection.ethical_review": _unknown(_NOT_PUBLISHED),
    "ds.collection.notified": _unknown(_NOT_PUBLISHED),
    "ds.collection.consent": _unknown(_NOT_PUBLISHED),
    "ds.uses.other_tasks": _said(
        [
            "Models of repeat purchase and of customer value",
            "Teaching and testing of the erasure of persons from versioned data",
        ]
    ),
    "ds.uses.impact_on_future_uses": _said(
        "All customers joined in the same three months of 1997, before most people shopped online. "
        "What is learned of them does not carry over to customers of today."
    ),
    "ds.uses.not_suitable": _said(
        [
            "Decisions about real persons",
            "Conclusions about customers who joined at another time",
            "Judging creditworthiness or character",
        ]
    ),
    "ds.distribution.license": _said(
        "The publication states no licence. The copy used here comes with the Python package "
        "lifetimes, which is under the MIT licence."
    ),
    "ds.maintenance.contact": _said("data-owner@northgate.example"),
    "ds.maintenance.updates": _said(
        "The data end in June 1998. New versions come of corrections and of erasures."
    ),
}

MODEL_CARD: Answers = {
    "mc.details.type": _said(
        "Logistic regression on five figures per customer, each on a log scale and standardised."
    ),
    "mc.details.contact": _said("model-owner@northgate.example"),
    "mc.intended_use.primary_uses": _said(
        ["Choose the tenth of the customers who get next quarter's offer by e-mail"]
    ),
    "mc.intended_use.primary_users": _said(["The marketing team of Northgate Records"]),
    "mc.intended_use.out_of_scope": _said(
        [
            "Prices, credit, or any decision with legal or similar effect on a person",
            "Customers who joined after March 1997: none were in the training data",
        ]
    ),
    "mc.intended_use.autonomy_oversight": _said(
        "It proposes a list; a person of the marketing team releases it and may change it. The "
        "model owner can take the model out of use at any time."
    ),
    "mc.intended_use.risk_class": _choice(
        "minimal", "It chooses who is sent an offer: no use that Annex III of the AI Act lists."
    ),
    "mc.factors.relevant": _said(
        [
            "Time since the first purchase: new and old customers behave differently",
            "Season: the quarter before Christmas is unlike the others",
        ]
    ),
    "mc.evaluation_data.motivation": _said(
        "The quarter after the training cutoff, for the same customers: the model is used on the "
        "future, so it is tested on what was the future when it was trained."
    ),
    "mc.ethics.sensitive_data": _no(
        "Five figures about purchases; no attribute of the person, no special category."
    ),
    "mc.ethics.human_life": _no("Nothing vital follows from who is sent an offer."),
    "mc.ethics.mitigations": _said(
        "Five figures about purchases and no attribute of the person go in. Nobody is worse off "
        "for a low score than without the model: no offer is withdrawn."
    ),
    "mc.caveats.caveats": _said(
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
    missing = {key: answer for key, answer in answers.items() if key not in answered}
    if missing:
        vestige.put(path, {"answers": missing})
    return len(missing)
