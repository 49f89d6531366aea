"""Dataset folders, sample order, batches, and what is said about bad ones."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from converters import tokenizer as tok
from converters.data import Corpus, _Filler
from converters.dataset import Folder
from converters.recipe import Source
from converters.tokenizer import NanoTokenizer
from decoding.scaffold import Scaffold
from edge.core.errors import InputError
from tests.converters.conftest import write_dataset


def test_answers_are_those_of_the_scaffold(corpus: Corpus, scaffold: Scaffold) -> None:
    for n, record in enumerate(corpus.folders[0].records):
        assert corpus.answers[n].tolist() == scaffold.fill(record["values"]).tolist()


def test_a_batch(corpus: Corpus, tokenizer: NanoTokenizer) -> None:
    batch = corpus.batch([0, 1])
    p, n = batch.prompt_rows.tolist(), batch.answers.shape[1]
    assert p[0] != p[1]
    assert batch.tokens.shape == (2, max(p) + n)
    assert batch.ids == ("r0", "r1")
    for b in range(2):
        assert torch.equal(batch.tokens[b, p[b] : p[b] + n], batch.answers[b])
    assert (batch.tokens == corpus.image_id).sum(dim=1).tolist() == [12, 12]
    assert tokenizer.decode(batch.answers[1].tolist()).endswith('"}')
    assert batch.patches.shape == (2 * 3 * 16, 3 * 14 * 14)


@pytest.mark.parametrize("record", [0, 1])
def test_positions_are_those_of_transformers(corpus: Corpus, model, record: int) -> None:
    batch = corpus.batch([record])
    kinds = (batch.tokens == corpus.image_id).int()
    theirs, _ = model.model.get_rope_index(
        batch.tokens, mm_token_type_ids=kinds, image_grid_thw=torch.tensor([[1, 4, 4]] * 3), video_grid_thw=None
    )
    assert torch.equal(batch.positions, theirs)


def test_order_is_a_function_of_seed_and_step(corpus: Corpus) -> None:
    steps = [corpus.chosen(3, s, 5) for s in range(12)]
    assert [corpus.chosen(3, s, 5) for s in reversed(range(12))] == steps[::-1]
    assert corpus.chosen(4, 0, 5) != steps[0]
    seen = [r for s in steps for r in s]
    assert sorted(seen[:24]) == sorted(seen[24:48]) == list(range(24)), "each record once per epoch"
    assert seen[:24] != seen[24:48]


def test_weights_say_how_often(dataset: Path, tmp_path: Path, tokenizer: NanoTokenizer, scaffold: Scaffold) -> None:
    other = write_dataset(tmp_path / "other", 10, seed=5)
    sources = [Source(path=dataset, weight=0.5), Source(path=other, weight=2.5)]
    both = Corpus.read(sources, tokenizer, scaffold)
    assert both.deck_size == 12 + 25
    drawn = Counter(both.chosen(0, 0, 37))
    assert set(drawn.values()) <= {1, 2, 3}
    assert sum(v for k, v in drawn.items() if k >= 24) == 25
    assert sorted(Counter(k for k in drawn.elements() if k >= 24).values()) == [2] * 5 + [3] * 5
    assert both.id(24) == "r0"
    assert np.array_equal(both._pixels([25]), np.load(other / "images.npy")[1])


def test_jitter_changes_pixels_alone(corpus: Corpus) -> None:
    plain, a, b = (corpus.batch([2, 3], strength=s, seed=(0, n)) for s, n in ((0.0, 0), (0.3, 1), (0.3, 2)))
    assert torch.equal(plain.tokens, a.tokens)
    assert not torch.equal(plain.patches, a.patches)
    assert not torch.equal(a.patches, b.patches)
    assert torch.equal(a.patches, corpus.batch([2, 3], strength=0.3, seed=(0, 1)).patches)


def test_prompt_dropout_hides_what_stands_behind_the_images(corpus: Corpus, tokenizer: NanoTokenizer) -> None:
    plain, all_ = (corpus.batch([2, 3], dropout=d, seed=(0, 1)) for d in (0.0, 1.0))
    assert torch.equal(plain.patches, all_.patches)
    assert torch.equal(plain.answers, all_.answers)
    for b, n in enumerate(plain.prompt_rows.tolist()):
        before, after = plain.tokens[b, :n].tolist(), all_.tokens[b, :n].tolist()
        first = n - before[::-1].index(tokenizer.id(tok.VISION_END))
        last = n - 1 - before[::-1].index(tokenizer.id(tok.STOP))
        assert after[first:last] == [corpus.pad_id] * (last - first)
        assert last - first > 3
        assert (after[:first], after[last:]) == (before[:first], before[last:])
        assert torch.equal(plain.tokens[b, n:], all_.tokens[b, n:])


def test_prompt_dropout_is_a_function_of_the_seed(corpus: Corpus) -> None:
    records = list(range(20))
    plain = corpus.batch(records).tokens
    halves = [corpus.batch(records, dropout=0.5, seed=(0, n)).tokens for n in (1, 1, 2)]
    hidden = [(h != plain).any(dim=1) for h in halves]
    assert torch.equal(halves[0], halves[1])
    assert not torch.equal(hidden[0], hidden[2])
    assert all(3 < int(h.sum()) < 17 for h in hidden)


def test_image_dropout_blanks_all_cameras_of_a_sample(corpus: Corpus) -> None:
    records = list(range(8))
    plain = corpus.batch(records)
    some, again, other = (corpus.batch(records, blank=0.5, seed=(0, n)) for n in (1, 1, 2))
    assert torch.equal(some.tokens, plain.tokens)
    assert torch.equal(some.patches, again.patches)
    assert not torch.equal(some.patches, other.patches)
    grey = corpus.batch(records, blank=1.0, seed=(0, 1)).patches.view(8, -1)
    assert (grey == grey[:1]).all()
    for mixed, seen, unseen in zip(some.patches.view(8, -1), plain.patches.view(8, -1), grey, strict=True):
        assert torch.equal(mixed, seen) or torch.equal(mixed, unseen)
    assert np.array_equal(corpus._pixels([0]), corpus._pixels([0]))
    assert torch.equal(corpus.batch(records).patches, plain.patches)  # the files behind are untouched


# --- refusals: one line that names the file, the rule, the value and the remedy -------------------------------------------------


@pytest.fixture
def broken(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dataset, tmp_path / "broken"))


def refused(path: Path, tokenizer: NanoTokenizer, scaffold: Scaffold) -> str:
    with pytest.raises(InputError) as e:
        Corpus.read([Source(path=path)], tokenizer, scaffold)
    assert "\n" not in str(e.value)
    return str(e.value)


def test_missing_folder(tmp_path: Path, tokenizer: NanoTokenizer, scaffold: Scaffold) -> None:
    assert "no such dataset folder" in refused(tmp_path / "nope", tokenizer, scaffold)
    assert "not a dataset folder" in refused(tmp_path, tokenizer, scaffold)


def test_truncated_images(broken: Path, tokenizer: NanoTokenizer, scaffold: Scaffold) -> None:
    content = (broken / "images.npy").read_bytes()
    (broken / "images.npy").write_bytes(content[:-1000])
    assert "images.npy: missing, truncated or not an array" in refused(broken, tokenizer, scaffold)
    np.save(broken / "images.npy", np.zeros((3, 3, 56, 56, 3), np.uint8))
    assert "must be uint8 [24, 3, 56, 56, 3] as meta.json says: got uint8 [3, 3, 56" in refused(broken, tokenizer, scaffold)
    (broken / "images.npy").unlink()
    assert "images.npy: missing" in refused(broken, tokenizer, scaffold)


def test_meta(broken: Path, tokenizer: NanoTokenizer, scaffold: Scaffold) -> None:
    meta = json.loads((broken / "meta.json").read_text())
    for change, text in (
        ({"schema": "edge.sft/2"}, "schema must be 'edge.sft/1': got 'edge.sft/2'"),
        ({"template": {"sections": []}}, "template, records, cameras or image_size is malformed"),
        ({"records": 25}, "meta.json says 25 records: got 24 lines"),
    ):
        (broken / "meta.json").write_text(json.dumps({**meta, **change}))
        assert text in refused(broken, tokenizer, scaffold)
    (broken / "meta.json").write_text("{")
    assert "not readable as JSON" in refused(broken, tokenizer, scaffold)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"prompt": "no place"}, "line 1 (r0): the prompt must hold '<image>' once"),
        ({"prompt": "<image> <|image_pad|>"}, "record r0: the prompt holds a special token"),
        ({"values": ["yes"]}, "record r0: the template has 4 holes: got 1"),
        ({"values": ["maybe", "free", "+11.5", "-1"]}, "record r0: hole 0"),
        ({"values": ["yes", "free", "+1.55", "-1"]}, "record r0: hole 2 cannot hold '+1.55'"),
        ({"values": ["yes", "a very long explanation that is over budget", "+11.5", "-1"]}, "record r0: hole 1 holds 6 tokens"),
        ({"values": None}, "line 1 must be a JSON object with id, prompt and values"),
    ],
)
def test_records(broken: Path, tokenizer: NanoTokenizer, scaffold: Scaffold, change: dict, text: str) -> None:
    lines = (broken / "records.jsonl").read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), **change})
    (broken / "records.jsonl").write_text("\n".join(lines) + "\n")
    assert text in refused(broken, tokenizer, scaffold)


def test_different_templates(dataset: Path, broken: Path, tokenizer: NanoTokenizer, scaffold: Scaffold) -> None:
    meta = json.loads((broken / "meta.json").read_text())
    meta["template"]["sections"] = meta["template"]["sections"][:2]
    (broken / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match="template differs from that of"):
        Corpus.read([Source(path=dataset), Source(path=broken)], tokenizer, scaffold)
    with pytest.raises(InputError, match="names no data"):
        Corpus.read([], tokenizer, scaffold)


def test_filler_without_padding(scaffold: Scaffold, tokenizer: NanoTokenizer) -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="no padding token"):
        _Filler(replace(scaffold, pad_token_id=None), tokenizer)(["yes", "a", "+11.5", "-1"])


def test_folder_keeps_what_it_does_not_know(dataset: Path) -> None:
    assert Folder.open(dataset).meta["planner"] == {"any": "thing"}
