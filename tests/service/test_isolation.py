"""Whatever other clients send, each gets exactly its own answer."""

import asyncio
import random

import httpx

from tests.service.clients import send_at_once
from tests.service.test_classify import check_prediction
from tests.versions import encode, plain_picture

CLIENTS = 64
REQUESTS = 12


async def send_requests(client: httpx.AsyncClient, number: int) -> None:
    """One client's requests: pictures of colours that only it has, and broken ones in between."""
    generator = random.Random(number)
    for step in range(REQUESTS):
        request_id = f"client-{number}.{step}"
        colour = (number * 4 % 256, step * 20, generator.randrange(256))
        headers = {"content-type": "image/png", "x-request-id": request_id}
        match (number + step) % 4:
            case 0:
                answer = await client.post("/classify", content=b"junk %d" % number, headers=headers)
                assert answer.status_code == 422
                assert f"{5 + len(str(number))} bytes" in answer.json()["detail"]
            case 1:
                answer = await client.post("/classify", content=encode(plain_picture(colour))[:40], headers=headers)
                assert answer.status_code == 422
            case 2:
                parts = [("image", encode(plain_picture(c))) for c in (colour, colour[::-1], (number, 0, 0))]
                answer = await client.post("/classify", files=parts, headers={"x-request-id": request_id})
                assert answer.status_code == 200, answer.text
                predictions = answer.json()["predictions"]
                for prediction, sent in zip(predictions, (colour, colour[::-1], (number, 0, 0)), strict=True):
                    check_prediction(prediction, sent)
            case _:
                answer = await client.post("/classify", content=encode(plain_picture(colour)), headers=headers)
                assert answer.status_code == 200, answer.text
                check_prediction(answer.json()["predictions"][0], colour)
        assert answer.headers["x-request-id"] == request_id


def test_64_clients_with_good_and_broken_bodies_get_their_own_answers(server: str) -> None:
    send_at_once(server, CLIENTS, send_requests)


def test_a_picture_has_one_answer_whatever_else_is_in_its_batch(server: str) -> None:
    body = encode(plain_picture((90, 91, 92)))
    headers = {"content-type": "image/png"}

    async def ask(client: httpx.AsyncClient, number: int) -> bytes:
        if number % 2:
            noise = encode(plain_picture((number, 255 - number, number * 2 % 256)))
            return (await client.post("/classify", content=noise, headers=headers)).content
        return (await client.post("/classify", content=body, headers=headers)).content

    async def ask_all() -> list[bytes]:
        async with httpx.AsyncClient(base_url=server, timeout=60) as client:
            alone = await ask(client, 0)
            return [alone, *await asyncio.gather(*(ask(client, number) for number in range(120)))]

    answers = asyncio.run(ask_all())
    assert len(set(answers[1::2])) == 1
    assert answers[0] == answers[1]
