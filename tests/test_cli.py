"""The command line as its users meet it: results, files, exit codes, one line for each mistake."""

from __future__ import annotations

import csv
import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import backproof as bp
from backproof.data import read

QUICK = ["--hidden", "8", "--epochs", "3"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_main_job(run):
    code, out, _ = run("train", "digits", "--out", "run", "--epochs", "5")
    assert code == 0
    assert "gradient check: agrees" in out
    assert "confusion matrix" in out
    history = json.loads(Path("run/history.json").read_text())
    network = bp.load("run/model.safetensors")
    _, held = read("digits").split(0.25, seed=0)
    accuracy = np.mean(network.predict(held.x).argmax(1) == held.labels)
    assert history["held_out"]["accuracy"] == accuracy
    assert f"accuracy on the held-out examples: {accuracy:.4f}" in out
    assert len(history["records"]) == 5
    assert np.sum(history["held_out"]["confusion"]) == 449
    assert history["gradient_check"]["relative_difference"] < 1e-8


def test_what_the_library_logs_is_shown(run, monkeypatch):
    """As when a kernel is being compiled (`tests/test_compiled.py`); nothing of it is left behind."""
    log = logging.getLogger("backproof")

    def command(*arguments, **options):
        log.info("compiling %s", "something")
        return 0

    monkeypatch.setattr("backproof.commands.train_command", command)
    assert run("train", "digits") == (0, "", "backproof: compiling something\n")
    assert not log.handlers
    assert not log.isEnabledFor(logging.INFO)


@pytest.mark.slow
def test_the_defaults_reach_their_accuracy_over_many_seeds(run):
    accuracies = []
    for seed in range(20):
        run("train", "digits", "--out", f"run{seed}", "--seed", str(seed))
        accuracies.append(json.loads(Path(f"run{seed}/history.json").read_text())["held_out"]["accuracy"])
    assert np.mean(accuracies) >= 0.975
    assert min(accuracies) >= 0.965


def test_the_defaults_reach_their_accuracy(run):
    code, _, _ = run("train", "digits", "--out", "run")
    history = json.loads(Path("run/history.json").read_text())
    assert code == 0
    assert history["held_out"]["accuracy"] >= 0.965


@pytest.mark.parametrize("name", ["iris", "wine", "breast-cancer"])
def test_the_other_bundled_sets(run, name):
    assert run("train", name, *QUICK)[0] == 0
    assert Path(f"backproof-{name}/model.safetensors").exists()


def test_small_data_gets_the_steps_it_needs():
    from backproof.job import Job, Settings

    for name, epochs in (("iris", 500), ("breast-cancer", 143), ("digits", 60)):  # 4, 14 and 43 steps an epoch
        assert Job(read(name), Settings()).epochs == epochs
    assert Job(read("iris"), Settings(epochs=7)).epochs == 7


@pytest.mark.parametrize("activation", ["relu", "leaky-relu", "gelu", "silu", "softplus", "tanh", "sigmoid", "softmax", "identity"])
def test_every_activation(run, activation):
    assert run("train", "iris", *QUICK, "--activation", activation)[0] == 0


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd", "lbfgs"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "warm-up"])
def test_every_optimizer_and_schedule(run, optimizer, schedule):
    assert run("train", "iris", *QUICK, "--optimizer", optimizer, "--schedule", schedule)[0] == 0


def test_own_csv_and_predict(run):
    rng = np.random.default_rng(0)
    rows = [(*np.round(rng.normal(size=2) + 5 * k, 3), "abc"[k]) for k in range(3) for _ in range(20)]
    Path("my.csv").write_text("u,v,label\n" + "\n".join(",".join(map(str, row)) for row in rows))
    arguments = [
        "train",
        "my.csv",
        "--target",
        "label",
        "--hidden",
        "16,8",
        "--activation",
        "tanh",
        "--epochs",
        "40",
        "--out",
        "run",
    ]
    assert run(*arguments)[0] == 0
    code, out, _ = run("predict", "run/model.safetensors", "my.csv")
    table = list(csv.DictReader(out.splitlines()))
    assert code == 0
    assert list(table[0]) == ["label", "probability_a", "probability_b", "probability_c"]
    probabilities = np.array([[float(row[f"probability_{c}"]) for c in "abc"] for row in table])
    assert np.abs(probabilities.sum(1) - 1).max() < 1e-6
    assert [row["label"] for row in table] == ["abc"[i] for i in probabilities.argmax(1)]
    assert np.mean([row["label"] == r[2] for row, r in zip(table, rows, strict=True)]) > 0.9
    code, out, _ = run("predict", "run/model.safetensors", "my.csv", "--target", "label", "--out", "p.csv")
    assert code == 0
    assert "accuracy: 0.9" in out or "accuracy: 1.0" in out
    assert len(Path("p.csv").read_text().splitlines()) == 61


def test_own_npz(run):
    data = read("iris")
    np.savez("my.npz", x=data.x.astype(np.float32), y=data.labels)
    assert run("train", "my.npz", *QUICK, "--out", "run")[0] == 0
    assert run("predict", "run/model.safetensors", "my.npz")[1].startswith("label,probability_0")


def test_same_seed_same_file_and_another_seed_another(run):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        run("train", "iris", *QUICK, "--seed", seed, "--out", name)
    a, b, c = (Path(f"{name}/model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_nothing_is_overwritten_without_force(run):
    assert run("train", "iris", *QUICK, "--out", "run")[0] == 0
    before = Path("run/model.safetensors").read_bytes()
    code, _, err = run("train", "iris", *QUICK, "--out", "run", "--seed", "5")
    assert (code, Path("run/model.safetensors").read_bytes()) == (2, before)
    assert "run/model.safetensors: exists already and is not overwritten; give --force" in err
    assert run("train", "iris", *QUICK, "--out", "run", "--seed", "5", "--force")[0] == 0
    assert Path("run/model.safetensors").read_bytes() != before
    Path("p.csv").write_text("mine")
    code, _, err = run("predict", "run/model.safetensors", "iris", "--out", "p.csv")
    assert (code, Path("p.csv").read_text()) == (2, "mine")
    for _ in range(2):
        assert run("train", "iris", *QUICK)[0] == 0
    assert Path("backproof-iris").is_dir()
    assert Path("backproof-iris-2").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "none.csv"], "none.csv: expected a file, received no such file"),
        (["train", "mnist"], "mnist: expected one of digits, iris, wine, breast-cancer"),
        (["train", "iris", "--activation", "relo"], "'--activation': 'relo' is not one of 'relu'"),
        (["train", "iris", "--optimizer", "adamm"], "'--optimizer': 'adamm' is not one of"),
        (["train", "iris", "--hiden", "3"], "No such option '--hiden'"),
        (["train", "iris", "--hidden", "3,x"], "expected sizes such as 64,64 (or none), received '3,x'"),
        (["train", "iris", "--hidden", "-3"], "received '-3'"),
        (["train", "iris", "--epochs", "0"], "'--epochs': 0 is not in the range x>=1"),
        (["train", "iris", "--lr", "-1"], "'--lr'"),
        (["train", "iris", "--dropout", "1"], "'--dropout'"),
        (["train", "iris", "--test-fraction", "0.99"], "iris: expected enough examples"),
        (["train", "iris", "--target", "species"], "iris: expected no target for a bundled data set, received 'species'"),
        (["train", "iris", "--optimizer", "lbfgs", "--lr", "1"], "lbfgs: expected no learning rate"),
        (["train", "iris", "--optimizer", "lbfgs", "--dropout", "0.2"], "lbfgs: expected no dropout"),
        (["train", "iris", "--seed", "99999999999"], "'--seed'"),
        (["train", "iris", "--lr", "nan"], "'--lr': expected a finite number, received nan"),
        (["train", "iris", "--test-fraction", "nan"], "'--test-fraction'"),
        (["train", "iris", "--hidden", "9" * 20], "expected sizes such as 64,64"),
        (["train"], "Missing argument 'DATA'"),
        (["predict", "none.safetensors", "iris"], "none.safetensors: expected a model file, received no such file"),
        (["foo"], "No such command 'foo'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, arguments, message):
    code, out, err = run(*arguments)
    assert code == 2
    assert message in err
    assert err.startswith("backproof: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err + out
    assert not [p for p in Path().iterdir() if p.is_dir()]


def test_mistakes_at_predict(run):
    run("train", "iris", *QUICK, "--out", "run")
    model = Path("run/model.safetensors")
    header = ",".join(f'"{name}"' for name in read("iris").features)
    Path("narrow.csv").write_text("a,b\n1,2\n")
    np.savez("wide.npz", x=np.ones((2, 7)))
    Path("unseen.csv").write_text(f"{header},kind\n1,2,3,4,setosa\n1,2,3,4,rose\n")
    Path("short.safetensors").write_bytes(model.read_bytes()[:-100])
    bare = bp.Network([bp.Linear(2)]).initialise(np.ones((1, 2)), seed=0)
    bp.save(bare, "bare.safetensors")
    for arguments, message in [
        ([str(model), "narrow.csv"], "narrow.csv: expected the model's 4 feature columns, received 2 columns without 'sepal"),
        ([str(model), "wide.npz"], "wide.npz: expected 4 features, as the model was trained with, received 7"),
        (
            [str(model), "unseen.csv", "--target", "kind"],
            "expected labels that the model was trained with (setosa, versicolor, virginica), received 'rose'",
        ),
        ([str(model), "unseen.csv", "--target", "none"], "received --target 'none'"),
        (["short.safetensors", "iris"], "short.safetensors: expected a whole safetensors file"),
        (["bare.safetensors", "iris"], "bare.safetensors: expected a model made by `backproof train`"),
    ]:
        code, out, err = run("predict", *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_tiny_layers_that_die_do_not_alarm_the_gradient_check(run, seed):
    assert run("train", "iris", "--hidden", "4,4", "--epochs", "1", "--seed", seed)[0] == 0


def test_constant_features_do_not_alarm_the_gradient_check(run):
    Path("constant.csv").write_text("a,b,label\n" + "1,2,x\n1,2,y\n" * 16)
    assert run("train", "constant.csv", "--target", "label", "--epochs", "1")[0] == 0
    options = ["--optimizer", "lbfgs", "--hidden", "none", "--label-smoothing", "0"]
    assert run("train", "constant.csv", "--target", "label", *options)[0] == 0


def test_class_names_are_shown_as_they_are(run):
    rows = "".join(f"{k},{name}\n" for k, name in enumerate(["[/b]", "[red]y"] * 16))
    Path("markup.csv").write_text("a,label\n" + rows)
    code, out, _ = run("train", "markup.csv", "--target", "label", "--epochs", "1", "--out", "run")
    assert code == 0
    assert "[/b]" in out
    assert "[red]y" in out
    assert run("predict", "run/model.safetensors", "markup.csv", "--target", "label")[0] == 0


@pytest.mark.parametrize(("kind", "labels"), [("csv", ["00", "01"]), ("npz", [False, True])])
def test_labels_are_recognised_in_the_form_they_were_trained_in(run, kind, labels):
    x = np.arange(32.0)[:, None]
    if kind == "csv":
        Path("d.csv").write_text("a,label\n" + "".join(f"{v[0]},{labels[int(v[0] > 15)]}\n" for v in x))
    else:
        np.savez("d.npz", x=x, label=x[:, 0] > 15)
    assert run("train", f"d.{kind}", "--target", "label", *QUICK, "--out", "run")[0] == 0
    assert run("predict", "run/model.safetensors", f"d.{kind}", "--target", "label")[0] == 0


def test_a_large_common_offset_costs_no_accuracy(run):
    Path("time.csv").write_text("t,label\n" + "".join(f"{1700000000 + i},{'early' if i < 100 else 'late'}\n" for i in range(200)))
    run("train", "time.csv", "--target", "label", "--out", "run")
    assert json.loads(Path("run/history.json").read_text())["held_out"]["accuracy"] >= 0.95


def test_features_that_cannot_be_held_are_named(run):
    run("train", "iris", *QUICK, "--out", "run")
    header = ",".join(f'"{name}"' for name in read("iris").features)
    Path("big.csv").write_text(f"{header}\n1,2,3,4\n1e300,2,3,4\n")
    code, out, err = run("predict", "run/model.safetensors", "big.csv")
    assert (code, out) == (2, "")
    assert "big.csv: expected features that float32 can hold, received others in example 1" in err


def test_a_folder_that_cannot_be_made_is_found_before_training(run):
    Path("file").write_text("mine")
    for out in ("file", "file/sub"):
        code, text, err = run("train", "iris", *QUICK, "--out", out)
        assert code == 2
        assert "epoch" not in text
        assert err.count("\n") == 1
    assert Path("file").read_text() == "mine"


def test_a_run_that_diverges_keeps_the_last_good_weights(run):
    code, _, err = run("train", "iris", *QUICK, "--optimizer", "sgd", "--lr", "1e30", "--out", "run")
    assert code == 2
    assert "expected finite numbers" in err
    assert np.isfinite(bp.load("run/model.safetensors").parameters).all()


def test_a_wrong_gradient_stops_the_job_with_exit_code_1(run, monkeypatch):
    from backproof.layers import Tanh

    monkeypatch.setattr(Tanh, "backward", lambda self, params, kept, dy: (dy * 0.99, {}))
    code, out, _ = run("train", "iris", *QUICK, "--activation", "tanh", "--out", "run")
    assert code == 1
    assert "DISAGREES" in out
    assert not Path("run").exists()


@pytest.mark.parametrize("command", [[], ["train"], ["predict"]])
def test_help_has_an_example(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert f"backproof {command[0] if command else 'train'} " in out.split("Example")[-1]


def test_without_a_command_the_help_is_shown(run):
    code, out, err = run()
    assert code == 2
    assert "train" in out + err


def test_the_installed_command_and_the_module_are_the_same():
    for command in (["-m", "backproof"], ["-c", "import backproof.cli; backproof.cli.main()"]):
        shown = subprocess.run([sys.executable, *command, "--version"], capture_output=True, text=True, check=True)
        assert bp.__version__ in shown.stdout


def test_a_reader_that_leaves_early_sees_no_traceback():
    run = f"{sys.executable} -m backproof train iris --hidden 4 --epochs 2 --out run && "
    pipe = f"{sys.executable} -m backproof predict run/model.safetensors iris | head -n 1"
    shown = subprocess.run(["bash", "-c", run + pipe], capture_output=True, text=True, check=False)
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 5}, "expected a class's name for each output"),
        ({"classes": ["a", "b"]}, "expected a class's name for each output"),
        ({"classes": [[], {}, None]}, "expected a class's name for each output"),
        ({"features": "abcd"}, "expected names of classes and columns"),
        ({"features": [1, 2, 3, 4]}, "expected names of classes and columns"),
    ],
)
def test_names_in_a_model_from_someone_else_are_not_believed(run, changes, message):
    metadata = {"classes": ["a", "b", "c"], "features": list("uvwx")} | changes
    network = bp.Network([bp.Linear(3), bp.Softmax()], metadata=metadata).initialise(np.zeros((1, 4)), seed=0)
    bp.save(network, "m.safetensors")
    code, _, err = run("predict", "m.safetensors", "iris")
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "nowhere"], "expected the folder of a run, received nowhere (run.json: No such file"),
        (["--resume", "damaged"], "whose run.json is damaged"),
        (["iris", "--resume", "done"], "expected nothing beside the folder"),
        (["--resume", "done", "--epochs", "5"], "expected nothing beside the folder"),
        (["iris", "--checkpoint-every", "0"], "expected a number of epochs or steps"),
        (["iris", "--checkpoint-every", "5 minutes"], "expected a number of epochs or steps"),
        (["iris", "--optimizer", "lbfgs", "--checkpoint-every", "5", "--out", "new"], "SciPy's L-BFGS keeps its state to itself"),
        (["iris", "--out", "done"], "give --resume done to go on, --force to begin anew"),
        ([], "Missing argument 'DATA'"),
    ],
)
def test_mistakes_about_checkpoints(run, arguments, message):
    run("train", "iris", *QUICK, "--out", "done", "--checkpoint-every", "1")
    for name in ("model.safetensors", "history.json", "report.html"):
        Path("done", name).unlink()
    Path("damaged").mkdir()
    Path("damaged/run.json").write_text('{"source": "iris", "settings": {"hidden": 5}}')
    code, _, err = run("train", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_finished_run_says_so_and_is_left_as_it_is(run):
    run("train", "iris", *QUICK, "--out", "done")
    before = {path.name: path.read_bytes() for path in Path("done").iterdir() if path.is_file()}
    assert run("train", "--resume", "done") == (0, "done: this run is finished; nothing was left to do\n", "")
    assert {path.name: path.read_bytes() for path in Path("done").iterdir() if path.is_file()} == before


def test_a_disk_that_is_full_at_the_end_loses_nothing(run, monkeypatch):
    """The model does not fit: the run says so and ends; its checkpoints are enough to make it later."""
    run("train", "iris", *QUICK, "--out", "whole")

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "part/model.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr("backproof.commands.save", full)
        code, _, err = run("train", "iris", *QUICK, "--out", "part", "--checkpoint-every", "2 epochs")
    assert (code, err) == (2, "backproof: error: part/model.safetensors: No space left on device\n")
    code, out, _ = run("train", "--resume", "part")
    assert code == 0
    assert "epoch    1/3" in out  # the records of before are among those of the whole run
    assert Path("part/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    histories = [json.loads(Path(name, "history.json").read_text()) for name in ("part", "whole")]
    for history in histories:
        for record in history["records"]:
            record.pop("seconds")
    assert histories[0] == histories[1]


def test_force_begins_anew(run):
    run("train", "iris", *QUICK, "--out", "a", "--checkpoint-every", "1")
    run("train", "iris", *QUICK, "--seed", "1", "--out", "b")
    assert run("train", "iris", *QUICK, "--seed", "1", "--out", "a", "--force")[0] == 0
    assert Path("a/model.safetensors").read_bytes() == Path("b/model.safetensors").read_bytes()
    assert not list(Path("a/checkpoints").iterdir())
