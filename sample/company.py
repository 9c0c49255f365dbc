"""Northgate Records, the sample company: what its data, jobs, models and keys are called.

The purchases are real (see `sample/data/SOURCES.md`). The company, its staff and the customers'
e-mail addresses are not.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

COMPANY = "Northgate Records"
SOURCE_FILE = Path(__file__).resolve().parent / "data" / "CDNOW_sample.txt"

# A name of its own and not "file" + path: an absolute path would put the machine's folders on
# every page, and the same table on another disk would become another dataset.
NAMESPACE = "northgate"
MODEL_NAMESPACE = "models"
SUBJECT_TYPE = "customer"
PRODUCER = "https://northgate.example/pipelines"

WINDOW = timedelta(days=90)
# Each quarter's features train a model; the next quarter's test it. Counted back from the last
# day of the data (30 June 1998), so that every label has its full 90 days.
CUTOFFS = (date(1997, 10, 3), date(1998, 1, 1), date(1998, 4, 1))

SYNTHETIC_EMAIL = "Synthetic: made from the customer number, under a domain that no mail reaches."


@dataclass(frozen=True)
class Dataset:
    name: str
    title: str
    description: str
    owner: str  # the sample sign-in of who answers for it
    # Columns that name a person -> what kind of identifier they hold.
    subject_columns: dict[str, str]
    columns: dict[str, str]  # column -> what it holds
    namespace: str = NAMESPACE


_CUSTOMER = "Customer number of the shop, five digits"

PURCHASES = Dataset(
    name="purchases",
    title="Purchases",
    description=(
        "Every order of CDs from January 1997 to June 1998 by customers who first bought in the "
        f"first quarter of 1997. {SYNTHETIC_EMAIL}"
    ),
    owner="data-owner",
    subject_columns={"customer_id": SUBJECT_TYPE, "email": "email"},
    columns={
        "customer_id": _CUSTOMER,
        "email": f"E-mail address. {SYNTHETIC_EMAIL}",
        "date": "Day of the purchase",
        "orders": "Orders of that day, counted as one purchase",
        "cds": "Number of CDs",
        "amount": "Amount paid, US dollars",
    },
)
FEATURES = Dataset(
    name="customer_features",
    title="Customer features",
    description=(
        "Recency, frequency and monetary value of each customer as of a cutoff day, and whether "
        "the customer bought again within the 90 days after it."
    ),
    owner="data-owner",
    subject_columns={"customer_id": SUBJECT_TYPE},
    columns={
        "customer_id": _CUSTOMER,
        "as_of": "Cutoff day: features use purchases up to and including it",
        "recency_days": "Days since the last purchase",
        "frequency": "Days with a purchase after the first",
        "monetary": "Mean amount of a purchase, US dollars",
        "tenure_days": "Days since the first purchase",
        "cds_mean": "Mean number of CDs of a purchase",
        "bought_again": "Label: a purchase within the 90 days after the cutoff",
    },
)
PREDICTIONS = Dataset(
    name="predictions",
    title="Predictions",
    description="The probability, by model version, that a customer buys within 90 days.",
    owner="model-owner",
    subject_columns={"customer_id": SUBJECT_TYPE},
    columns={
        "prediction_id": "Random identifier of the prediction",
        "customer_id": _CUSTOMER,
        "model_version": "Version of the model purchase-again",
        "as_of": "Cutoff day of the features that were scored",
        "probability": "Probability of a purchase within 90 days",
    },
)
TABLES = (PURCHASES, FEATURES, PREDICTIONS)

SOURCE = Dataset(
    name="CDNOW_sample.txt",
    title="CDNOW purchase history, 1/10 sample",
    description=(
        "Published research data: purchases of 2,357 real customers of the online record shop "
        "CDNOW (Fader and Hardie, 2001). It holds customer numbers, no names and no addresses."
    ),
    owner="data-owner",
    subject_columns={"customer_id": SUBJECT_TYPE},
    columns={
        "customer_id": "Customer number in the full file",
        "sample_id": "Customer number in the sample",
        "date": "Day of the purchase, YYYYMMDD",
        "cds": "Number of CDs",
        "amount": "Amount paid, US dollars",
    },
    namespace="cdnow",
)
MODEL = Dataset(
    name="purchase-again",
    title="Purchase again",
    description="Predicts from recency, frequency and value if a customer buys within 90 days.",
    owner="model-owner",
    subject_columns={},
    columns={},
    namespace=MODEL_NAMESPACE,
)


@dataclass(frozen=True)
class Job:
    name: str
    description: str


JOBS = {
    job.name: job
    for job in (
        Job("import_history", "Imports the purchase history month by month; parent of the loads."),
        Job("load_month", "Appends one month of the published purchase file."),
        Job("correct", "Removes orders that were recorded twice."),
        Job("clean", "Drops orders of amount zero, counts a day's orders as one purchase, types."),
        Job("build_features", "Recency, frequency, value and label of each customer at a cutoff."),
        Job("train", "Trains the model purchase-again and tests it on the quarter that follows."),
        Job("predict", "Scores every customer with one version of the model."),
        Job("release", "Trains, tests and scores one version of the model; parent of these."),
    )
}


def email_of(customer: str) -> str:
    """The synthetic address of customer 00004 is c00004@customers.example (RFC 2606: no mail)."""
    return f"c{customer}@customers.example"
