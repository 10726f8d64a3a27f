"""`kinema plan` as a user calls it."""

from __future__ import annotations

import dataclasses

import pytest

from kinema import hub

PLAN = ("plan", "movie-gen-video")


def test_the_paper_s_size_on_the_paper_s_machines(kinema):
    answer = kinema(*PLAN, "--preset", "30b", "--devices", "6144", "--device", "h100")
    assert answer.code == 0
    assert answer.err == ""
    for fact in (
        "73,728 tokens", "29,416,421,440", "TP 4 x CP 1 x FSDP 4 x 384 replicas", "at 40%", "T2I/V 768 d",
        "173.6 M", "printed", "GPU-days", "days for 100,000 steps",
        "T2I/V 256 a: the table prints 123k iterations; its own samples and total need 113k",
    ):  # fmt: skip
        assert fact in answer.out
    assert max(map(len, answer.out.splitlines())) <= 120
    rows = [line.split() for line in answer.out.splitlines() if line.startswith(("  T2I", "  the paper"))]
    joined = [" ".join(row) for row in rows]
    assert joined[0].endswith("tokens GPUs TP/CP batch printed lr steps samples printed GB days GPU-days")
    for row, start in zip(
        joined[1:4],
        (
            "T2I 256 256 1536 1/1 9,216 9,216 1e-4 210k 1.935 B 1.94 B",
            "T2I/V 256 a 8,192 3072 4/1 1,536 1,536 6e-5 113k 173.6 M 173.6 M",
            "T2I/V 256 b 8,192 6144 4/1 3,072 3,072 6e-5 72k 221.2 M 221.2 M",
        ),
        strict=True,
    ):
        assert row.startswith(start)
    ends = [" ".join(row[8:10]) for row in rows[4:]]
    assert ends == ["6e-5 19.6k", "3e-5 11k", "2e-5 15.9k", "1e-5 28k"]
    days = [float(row[-1].replace(",", "")) for row in rows[1:]]
    total = next(line for line in answer.out.splitlines() if line.startswith("  sum"))
    assert float(total.split()[1].replace(",", "")) == pytest.approx(sum(days), abs=len(days))


def test_json_says_it_all(kinema):
    found = kinema(*PLAN, "--preset", "30b", "--devices", "6144", "--mfu", "0.5", "--json").document
    assert found["tokens"] == 73_728
    assert found["layout"]["fits"] is True
    assert found["global_batch"] == 1536
    assert found["flops_per_sample"]["model"] == 3 * found["flops_per_sample"]["forward"]
    assert found["mfu"] == 0.5
    assert [row["global_batch"] for row in found["stages"]] == [9216, 1536, 3072, 1536, 1536, 768, 512]
    for need in found["memory_per_device"].values():
        parts = need["with_checkpointing"]
        assert parts["total"] == sum(value for name, value in parts.items() if name != "total")
        assert parts["total"] < need["without_checkpointing"]["total"]
    slower = kinema(*PLAN, "--preset", "30b", "--devices", "6144", "--mfu", "0.25", "--json").document
    assert slower["days"] == pytest.approx(2 * found["days"], rel=0.01)


def test_nano_on_this_machine(kinema):
    found = kinema(*PLAN, "--device", "cpu", "--batch-size", "32", "--steps", "5600", "--json").document
    assert found["model"] == "Movie Gen Video nano"
    assert found["device"]["name"] == "cpu"
    assert found["device"]["peak_flops"] > 1e9
    assert found["layout"]["fits"] is True
    assert found["stages"] == []


def test_a_run_that_does_not_fit_is_said(kinema):
    answer = kinema(*PLAN, "--preset", "30b", "--devices", "1", "--device", "l4")
    assert answer.code == 0
    assert "none fits: the least is" in answer.out
    assert "take more devices" in answer.out


def test_options_may_be_written_either_way(kinema):
    one = kinema(
        *PLAN, "--preset", "1b", "--frames", "128", "--batch_size", "2", "--no-ema", "--json"
    ).document
    other = kinema(
        *PLAN, "--preset", "1b", "--num-frames", "128", "--batch-size", "2", "--no-ema", "--json"
    ).document
    assert one == other
    assert one["tokens"] == 36_864
    assert one["memory_per_device"]["one device"]["with_checkpointing"]["ema"] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--preset", "31b"], "no preset '31b'; the closest are"),
        (["--device", "h10"], "there is no device 'h10' in the table; the closest are h100"),
        (["--devices", "0"], "--devices is 0 and must be 1 or more"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--steps", "0"], "--steps is 0"),
        (["--mfu", "2"], "--mfu is 2"),
        (["--height", "60"], "--height is 60 and must be a multiple of 8"),
        (["--frames", "400"], "--num-frames is 400 and must lie between 1 and"),
        (["--tp", "3"], "--devices 1 cannot be cut into TP 3"),
        (["--devices", "many"], "--devices"),
    ],
)
def test_what_users_get_wrong(kinema, arguments, sentence):
    answer = kinema(*PLAN, *arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert sentence in answer.err
    assert answer.err.count("\n") == 1
    as_json = kinema(*PLAN, *arguments, "--json")
    assert as_json.code == 2
    assert sentence in as_json.document["error"]["message"]


def test_a_model_without_a_planner(kinema, monkeypatch):
    entry = dataclasses.replace(hub.MODELS["movie-gen-video-nano"], planner=None)
    monkeypatch.setitem(hub.MODELS, "movie-gen-video-nano", entry)
    answer = kinema(*PLAN)
    assert answer.code == 2
    assert "has no planner yet" in answer.err
