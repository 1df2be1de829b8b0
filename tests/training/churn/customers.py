"""Customers for the tests: real ones, and as many as are wanted whose churn follows a known rule."""

import csv
from pathlib import Path

import numpy as np

TELCO = Path(__file__).parents[2] / "samples" / "telco" / "customers.csv"


def write_customers(path: Path, count: int = 400, *, seed: int = 0) -> Path:
    """A CSV of customers who leave more often the younger, dearer and more monthly their contracts are.

    It has numbers with and without blanks, a date, a truth value, categories, a rare category and an identifier.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        months, price = int(generator.integers(1, 60)), round(float(generator.normal(50, 15)), 2)
        monthly = bool(generator.random() < 0.5)
        odds = np.exp(1.0 - 0.08 * months + 0.04 * (price - 50) + 2.0 * monthly - 1.0)
        rows.append(
            {
                "CustomerId": f"C{number:05}",
                "Months": months,
                "Price": price if generator.random() > 0.1 else "",
                "Joined": f"20{generator.integers(10, 25)}-{generator.integers(1, 13):02}-05",
                "Plan": "monthly" if monthly else "yearly",
                "City": "Nowhere" if number % 150 == 3 else ("Lima", "Oslo", "Pune")[generator.integers(3)],
                "Mail": ("yes", "no", "")[generator.integers(3)],
                "Exited": int(generator.random() < odds / (1 + odds)),
            }
        )
    return write_csv(path, rows)


def write_csv(path: Path, rows: list[dict[str, object]], delimiter: str = ",") -> Path:
    """Rows as a CSV with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path
