"""What a training run writes, against the programs that read it.

    outputs.py golden           writes tests/golden/train/events.bin with the tensorboard package
    outputs.py live BUILD       has the C tests write logs and checkpoints, and reads them with tensorboard and transformers
"""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "train"
WALL_TIME = 1700000000.25


def golden_events():
    """The three kinds of record that train/tensorboard.c makes."""
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    summary = summary_pb2.Summary(value=[
        summary_pb2.Summary.Value(tag="train/loss", simple_value=2.375),
        summary_pb2.Summary.Value(tag="train/learning_rate", simple_value=4.9e-5),
        summary_pb2.Summary.Value(tag="train/" + "long" * 50, simple_value=math.inf),
    ])
    events = [
        event_pb2.Event(wall_time=WALL_TIME, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=WALL_TIME, step=301,
                        session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)),
        event_pb2.Event(wall_time=WALL_TIME, step=123456, summary=summary),
    ]
    GOLDEN.mkdir(parents=True, exist_ok=True)
    with open(GOLDEN / "events.bin", "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
        writer.flush()




def check_log(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from transformers.trainer_callback import TrainerState

    lines = [json.loads(line) for line in open(folder / "trainer_log.jsonl")]
    trained = [line for line in lines if "loss" in line]
    evaluated = [line for line in lines if "eval_loss" in line]
    assert trained and evaluated

    board = EventAccumulator(str(folder / "runs"))
    board.Reload()
    scalars = {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]}
    for tag, rows, name in [("train/loss", trained, "loss"), ("train/learning_rate", trained, "lr"),
                            ("eval/loss", evaluated, "eval_loss")]:
        assert [step for step, _ in scalars[tag]] == [row["current_steps"] for row in rows], tag
        assert all(math.isclose(a, row[name], rel_tol=1e-6) for (_, a), row in zip(scalars[tag], rows)), tag
    assert "train/epoch" in scalars and "eval/runtime" in scalars

    state = TrainerState.load_from_json(str(folder / "trainer_state.json"))
    assert [entry["loss"] for entry in state.log_history if "loss" in entry] == [row["loss"] for row in trained]
    assert state.global_step == lines[-1]["current_steps"]
    ours, known = json.load(open(folder / "trainer_state.json")), TrainerState().__dict__
    assert set(ours) == set(known), set(ours) ^ set(known)
    print("log: tensorboard and transformers read it")


def check_checkpoint(folder):
    import torch
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    for place in [folder, *sorted(folder.glob("checkpoint-*"))]:
        _, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(place, dtype="auto", output_loading_info=True)
        assert not any(report.values()), (place, report)
        assert AutoConfig.from_pretrained(place).dtype == torch.bfloat16
    print("checkpoints: transformers loads them")


def live(build):
    checks = {"log": check_log, "checkpoint": check_checkpoint}
    with tempfile.TemporaryDirectory() as scratch:
        for name, check in checks.items():
            folder = pathlib.Path(scratch) / name
            subprocess.run([build / "tests" / f"train_test_{name}"], check=True, capture_output=True,
                           env={**os.environ, "VS2_KEEP_OUTPUTS": str(folder)})
            check(folder)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["golden"]:
            golden_events()
        case ["live", build]:
            live(pathlib.Path(build))
        case _:
            sys.exit(__doc__)
