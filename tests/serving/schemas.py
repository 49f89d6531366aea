"""Many requests with JSON schemas, half of them at once: every answer is whole and valid, whichever server gives it."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema

from tests.serving.requests import BOUNDED, PROMPTS, UNBOUNDED, json_schema, picture, uri

COUNT = 40 if os.environ.get("EDGE_CASES") == "small" else 500
AT_ONCE = 16


def arguments(n: int) -> dict[str, Any]:
    schema = (*BOUNDED, *UNBOUNDED)[n % 6]
    prompt: Any = f"{PROMPTS[n % 8]} {n}"
    if n % 5 == 0:
        prompt = [{"type": "image_url", "image_url": {"url": uri(picture(n))}}, {"type": "text", "text": prompt}]
    sampled = {"temperature": 0.9, "seed": n} if n % 3 == 0 else {"temperature": 0}
    return {"messages": [{"role": "user", "content": prompt}], "response_format": json_schema(schema), "max_tokens": 80, **sampled}


def check(client: Any, model: str, n: int) -> None:
    a = arguments(n)
    choice = client.chat.completions.create(model=model, timeout=300, **a).choices[0]
    assert choice.finish_reason == "stop", (n, choice)
    jsonschema.validate(json.loads(choice.message.content), a["response_format"]["json_schema"]["schema"])


def expect_valid(client: Any, model: str) -> None:
    for n in range(COUNT // 2):
        check(client, model, n)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda n: check(client, model, n), range(COUNT // 2, COUNT)))
