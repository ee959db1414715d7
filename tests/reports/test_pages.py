"""The report tells the truth, whatever the run lacks and whatever its classes are called."""

import re
import shutil

import pytest
from page_reader import Page

from landsift import runs
from landsift.errors import RunError
from landsift.reports.run.facts import _in_short
from landsift.reports.run.page import report_html


@pytest.fixture
def run(make_run):
    return make_run()


def test_the_answer_stands_at_the_top(run):
    test = run.evaluation["test"]
    low, high = test["intervals"]["accuracy"]
    text = Page(report_html(run)).text
    top = text[: text.index("Learning rate")]
    assert f"{100 * test['accuracy']:.2f} %" in top
    assert f"95 % interval {100 * low:.2f} to {100 * high:.2f} %" in top
    assert f"Macro F1 {test['macro_f1']:.3f}" in top
    assert f"Calibration error (ECE) {test['ece']:.3f}" in top
    assert "Best epoch 4 of 5" in top
    assert "of 200 unseen test patches correctly" in top


def test_a_run_with_places_says_how_far_away_it_was_tested_and_maps_it(run):
    assert 'id="places"' not in report_html(run)
    manifest = runs.read_json(run.path / runs.MANIFEST)
    counts = {
        "median_km": 37.4, "location_accuracy": 0.346,
        "map": {"train": "28.56 44.04, -0.20 52.62", "val": "", "test": "10.00 50.00"},
    }  # fmt: skip
    found = {
        "name": "places",
        "verdict": "ok",
        "text": "test patches are 37 km away.",
        "counts": counts,
        "examples": [],
    }
    manifest["data"]["checks"]["sections"].append(found)
    runs.write_json(run.path / runs.MANIFEST, manifest)
    page = report_html(runs.Run.open(run.path))
    text = Page(page).text
    top = text[: text.index("Learning rate")]
    assert "Half of the test patches are 37 km or more from any training patch" in top
    assert "Location alone, without the image, classifies 34.6 % of all test patches correctly." in top
    assert 'id="places"' in page
    assert "Test patches are 37 km away. The map shows up to 400 patches of each part." in text
    counts |= {"test_placed": 150, "test": 200}
    runs.write_json(run.path / runs.MANIFEST, manifest)
    text = Page(report_html(runs.Run.open(run.path))).text
    assert "Half of the 150 of 200 test patches whose location is known are 37 km or more from any" in text
    found["counts"] = {"placed": 50}
    runs.write_json(run.path / runs.MANIFEST, manifest)
    assert 'id="places"' not in report_html(runs.Run.open(run.path))


def test_the_facts_of_the_run_are_told(run):
    text = Page(report_html(run)).text
    for fact in (
        "patches 1,000",
        "8 × 8 × 3",
        "600 train / 200 val / 200 test",
        "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15",
        "seed 7",
        "1 head 2 331,000",
        "2 fine-tune 3 4,340,000",
        "load_dataset 1 min 11 s yes",
        "The cache saved 1 min 11 s.",
        "torch 2.11.0",
        "labels error 2 pictures stand in <i>two</i> classes.",
        "A processor",
        "patches/broken <script>.png cannot identify image file",
        """landsift run --data 'odd '"'"'n'"'"' quoted' --out""",
        "backbone: efficientnet_b0",
        "A dashed line marks the start of phase 2 (fine-tune).",
    ):
        assert fact in text, fact


@pytest.mark.parametrize(
    ("chosen_by", "said"),
    [
        ("val_acc", "of 5, by validation accuracy"),
        ("val_recall", "of 5, by balanced accuracy on validation"),
        (None, "of 5, by validation accuracy"),  # a run from before the choice was written down
    ],
)
def test_the_page_says_what_the_best_epoch_was_chosen_by(run, chosen_by, said):
    """Of a run with balanced classes it said accuracy."""
    best = {"chosen_by": chosen_by} if chosen_by else {}
    runs.write_json(run.path / runs.MANIFEST, run.manifest | {"best": run.manifest["best"] | best})
    assert said in Page(report_html(runs.Run.open(run.path))).text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([], "augmentation"),
        (["training.label_smoothing=0.1", "model.head.dropout=0.3"], "augmentation, label smoothing, dropout"),
        (
            ["training.augment={mixup: 0.2}", "training.sampler=balanced"],
            "augmentation, mixup or CutMix, class balancing",
        ),
        (["training.augment.flips=false", "training.label_smoothing=0.1"], "label smoothing"),
    ],
)
def test_the_page_says_that_the_two_losses_are_different_measures(run, changes, said):
    runs.write_text(run.path / runs.CONFIG, run.config.replace(*changes).to_yaml())
    page = Page(report_html(runs.Run.open(run.path)))
    assert f"The training loss includes {said}; the validation loss does not." in page.text
    assert "training (regularised)" in report_html(runs.Run.open(run.path))


def test_where_the_losses_are_the_same_measure_no_word_is_lost(run):
    plain = run.config.replace("training.augment.flips=false")
    runs.write_text(run.path / runs.CONFIG, plain.to_yaml())
    html = report_html(runs.Run.open(run.path))
    assert "The training loss includes" not in Page(html).text
    assert "training (regularised)" not in html


def test_the_page_says_of_which_epoch_the_first_frame_is(make_run):
    text = Page(report_html(make_run())).text
    assert "The frame of epoch 4 is shown first: the model has the weights of that epoch." in text
    text = Page(report_html(make_run("one", frames=1))).text
    assert "The frame of epoch 1 is shown first; the model has the weights of epoch 4, which has no frame." in text


def test_names_and_paths_are_shown_as_written_and_run_nothing(run):
    html = report_html(run)
    page = Page(html)
    assert "<b>Über & Co</b>" in page.text
    assert 'Say "hi"' in page.text
    assert not page.all("b") or all("Über" not in part for part in re.findall(r"<b>(.*?)</b>", html))
    titles = [attrs["title"] for attrs in page.all("span") if "title" in attrs]
    assert any("odd 'n' \"quoted\"" in title and title.endswith("<i>.png") for title in titles)
    assert len(page.all("script")) == html.count("<script")


def test_the_page_is_one_file_with_plotly_once_and_asks_for_nothing(run):
    html = report_html(run)
    page = Page(html)
    assert html.count("* plotly.js v") == 1
    assert len(html) < 8e6
    assert not page.all("link")
    assert page.requests() == []
    assert page.misplaced == []
    assert "default-src 'none'" in html


def test_the_page_has_a_title_headings_and_alternative_texts(run):
    page = Page(report_html(run))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == 1
    assert tags.count("title") == 1
    assert tags.count("h2") == 8
    images = page.all("img")
    assert len(images) == 24 + 12  # mistakes, and three correct examples of each class
    assert all("true class" in image["alt"] and "predicted" in image["alt"] for image in images)


def test_validation_stands_beside_test(run):
    text = Page(report_html(run)).text
    assert f"validation {100 * run.evaluation['val']['accuracy']:.2f} %" in text
    assert "F1 on validation" in text


def test_intervals_say_what_they_allow_for(run, make_run):
    said = "They cover the sampling of the test patches, but not the variation between trainings."
    assert said in Page(report_html(run)).text
    grouped = make_run("grouped")
    evaluation = grouped.evaluation
    evaluation["test"]["intervals"] |= {"over": "groups", "groups": 12}
    runs.write_json(grouped.path / runs.EVALUATION, evaluation)
    assert (
        "They cover the sampling of the 12 test groups, but not" in Page(report_html(runs.Run.open(grouped.path))).text
    )
    evaluation["test"]["intervals"] |= {"over": "patches", "groups": 1}
    runs.write_json(grouped.path / runs.EVALUATION, evaluation)
    assert (
        "within the one group they are all in, but not other groups"
        in Page(report_html(runs.Run.open(grouped.path))).text
    )


def test_without_frames_there_is_no_embedding_section(make_run):
    assert 'id="embeddings"' not in report_html(make_run(frames=0))
    run = make_run("no-file")
    (run.path / runs.EMBEDDINGS).unlink()
    assert 'id="embeddings"' not in report_html(run)


def test_without_stages_the_cache_is_not_mentioned(make_run):
    assert "The cache saved" not in report_html(make_run(stages=False))


def test_a_run_of_before_the_checks_shows_none(run):
    manifest = runs.read_json(run.path / runs.MANIFEST)
    del manifest["data"]["checks"]
    runs.write_json(run.path / runs.MANIFEST, manifest)
    assert "Data checks" not in Page(report_html(run)).text


def test_without_mistakes_the_page_says_so(make_run):
    run = make_run()
    table = run.predictions
    runs.write_parquet(run.path / runs.PREDICTIONS, table.assign(predicted=table["label"]))
    assert "no test patch is misclassified" in report_html(runs.Run.open(run.path))


def test_without_images_there_are_placeholders(make_run):
    page = Page(report_html(make_run(images=False)))
    assert not page.all("img")
    assert page.text.count("no image") == 36
    assert "36 of 36 pictures are not shown: 36 the file does not exist." in page.text


def test_pictures_of_files_outside_the_run_are_said_to_be_missing(make_run, tmp_path):
    run = make_run(patches=40)
    shutil.move(run.path / "patches", tmp_path / "mine")
    table = run.predictions
    moved = table["path"].str.replace(f"{run.path}/patches", str(tmp_path / "mine"))
    runs.write_parquet(run.path / runs.PREDICTIONS, table.assign(path=moved))
    page = Page(report_html(runs.Run.open(run.path)))
    assert not page.all("img")
    assert "pictures are not shown" in page.text
    assert "--data SOURCE" in page.text


def test_a_run_of_one_phase_has_no_dashed_line(make_run):
    text = Page(report_html(make_run(phases=(5,)))).text
    assert "Dashed" not in text


def test_a_run_that_stopped_early_says_so(make_run):
    text = Page(report_html(make_run(phases=(2, 6), epochs=5))).text
    assert "Stopped early after 5 of 8 epochs" in text
    assert "3 of 6" in text


def test_many_classes_and_a_class_without_patches(make_run):
    run = make_run(classes=[f"class {k}" for k in range(25)], patches=24, frames=1)
    text = Page(report_html(run)).text
    assert "class 24" in text
    assert "The matrix of 25 classes is too wide for paper" in text


def test_a_missing_file_is_named(run):
    (run.path / runs.EVALUATION).unlink()
    with pytest.raises(RunError, match=runs.EVALUATION):
        report_html(runs.Run.open(run.path))


def test_the_same_run_gives_the_same_page(run):
    assert report_html(run) == report_html(runs.Run.open(run.path))


def test_thumbnails_come_from_the_store_of_the_run(make_run, tmp_path):
    pytest.importorskip("landsift.data.store.patch_store")
    from landsift.config import DataConfig, cache_folder
    from landsift.data.store.patch_store import build_store

    run = make_run(patches=40, classes=("a", "b"))
    for label in ("a", "b"):  # a folder of class folders with the same images
        (tmp_path / "data" / label).mkdir(parents=True)
    table = run.predictions.query("split == 'test'").copy()
    for i, row in table.iterrows():
        target = tmp_path / "data" / row["label"] / f"{i}.png"
        shutil.copy(row["path"], target)
        table.loc[i, "path"] = str(target)
    store = build_store(DataConfig(source=str(tmp_path / "data")), cache_folder() / "stores" / "key")
    runs.write_parquet(run.path / runs.PREDICTIONS, table)
    with_store = report_html(runs.Run.open(run.path), store)
    for file in (tmp_path / "data").rglob("*.png"):
        file.unlink()
    data = run.manifest["data"] | {"store": str(store.folder), "fingerprint": store.fingerprint}
    runs.write_json(run.path / runs.MANIFEST, run.manifest | {"data": data})
    assert len(Page(with_store).all("img")) > 0
    assert Page(report_html(runs.Run.open(run.path))).all("img") == Page(with_store).all("img")


def test_of_hundreds_of_bands_the_first_are_listed():
    assert _in_short([0.5, 2]) == "0.5, 2"
    assert _in_short([1.0] * 200).endswith("1, 1 and 184 more (model.json)")
