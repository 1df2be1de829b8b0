"""What pydantic found wrong, as a client reads it."""

import pytest
from pydantic import BaseModel, Field, ValidationError

from service.problems import MAX_PROBLEMS, list_problems


class Order(BaseModel):
    sizes: tuple[int, ...] = Field(min_length=1)


def find_problems(content: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as failure:
        Order.model_validate(content)
    return list_problems(failure.value, "order")


def test_an_item_at_fault_is_no_fault_of_its_list() -> None:
    assert [location for location, _ in find_problems({"sizes": ["small"]})] == ["order.sizes[0]"]


def test_a_list_that_is_too_short_is_named() -> None:
    [(location, message)] = find_problems({"sizes": []})
    assert location == "order.sizes"
    assert "at least 1 item" in message


def test_there_is_an_end_to_problems() -> None:
    assert len(find_problems({"sizes": ["small"] * 1000})) == MAX_PROBLEMS
