"""Churn: who is likely to leave, from a table of those who did and did not."""
