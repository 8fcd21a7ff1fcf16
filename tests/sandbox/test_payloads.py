"""The sample deliveries are complete and match their descriptions."""

import json
from collections import Counter

from sandbox.payloads import load_samples

SAMPLES = {sample.name: sample for sample in load_samples()}


def test_there_is_one_sample_of_each_of_the_eleven_kinds() -> None:
    kinds = Counter(sample.kind for sample in SAMPLES.values())
    assert kinds == {"happy": 1, "edge": 5, "invalid": 3, "duplicate": 2}


def test_one_duplicate_is_identical_and_one_differs_in_layout_alone() -> None:
    assert SAMPLES["10-same-bytes"].body == SAMPLES["01-happy-path"].body
    first, other = SAMPLES["02-enveloped"].body, SAMPLES["11-other-layout"].body
    assert first != other
    assert json.loads(first) == json.loads(other)
    assert list(json.loads(first)) != list(json.loads(other))


def test_samples_are_in_the_required_order() -> None:
    names = list(SAMPLES)
    for sample in SAMPLES.values():
        assert all(names.index(before) < names.index(sample.name) for before in sample.after)


def test_the_bodies_match_their_titles() -> None:
    records = {name: json.loads(sample.body) for name, sample in SAMPLES.items() if name != "07-not-json"}
    assert "id" not in records["08-no-record-id"]
    assert records["06-later-version"]["id"] == records["01-happy-path"]["id"]
    assert records["06-later-version"]["modified_on"] > records["01-happy-path"]["modified_on"]
    assert all(isinstance(source, int) for source in records["05-loose-types"]["source"])
