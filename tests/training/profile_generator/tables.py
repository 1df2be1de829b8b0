"""A small table of subscriptions, with everything in it that a table may have: rules, products, dates, blanks."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PRICES = {"basic": 9.5, "plus": 19.5, "premium": 39.5}


def write_subscriptions(path: Path, rows: int = 600, columns: Sequence[str] = ()) -> Path:
    """Write a CSV of ``rows`` subscriptions; with ``columns``, these alone.

    Support is "none" exactly for the basic plan; total is months times price, nearly, and blank where months is 0.
    """
    random = np.random.default_rng(5)
    header = ["id", "since", "plan", "support", "region", "app", "months", "price", "total", "cancelled"]
    lines: list[list[str | int | float]] = []
    for row in range(rows):
        plan = str(random.choice(list(PRICES), p=[0.5, 0.3, 0.2]))
        support = "none" if plan == "basic" else str(random.choice(["mail", "phone"]))
        months = int(random.integers(1, 60)) if random.random() > 0.05 else 0
        price = round(PRICES[plan] + int(random.integers(-20, 21)) * 0.05, 2)
        total = round(round(months * price * random.uniform(0.97, 1.03) / 0.05) * 0.05, 2) if months else ""
        region = str(random.choice(["north", "south", "west", ""], p=[0.4, 0.3, 0.2, 0.1]))
        app = str(random.choice(["yes", "no"]))
        day = np.datetime64("2020-01-01") + int(random.integers(0, 1500))
        cancelled = "yes" if random.random() < (0.5 if months < 12 else 0.15) else "no"
        lines.append([f"S{row:05}", str(day), plan, support, region, app, months, price, total, cancelled])
    chosen = [place for place, name in enumerate(header) if not columns or name in (*columns, "cancelled")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([header[place] for place in chosen])
        writer.writerows([[line[place] for place in chosen] for line in lines])
    return path
