"""The audit of a dataset, from its folder or table to a table of findings."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_inception_v4.architecture import (
    DEFAULT_SIZE,
    EVALUATION_CROP,
    MULTI_LABEL,
    REGRESSION,
    SINGLE_LABEL,
)
from keras_inception_v4.audit.duplicates import groups_of, near_pairs
from keras_inception_v4.audit.features import (
    WrongLabel,
    look_around,
    require_cleanlab,
    wrong_labels,
)
from keras_inception_v4.audit.gallery import draw_gallery
from keras_inception_v4.audit.listing import Listed, list_pictures
from keras_inception_v4.audit.looking import Look, look_at_all
from keras_inception_v4.data.columns import Columns
from keras_inception_v4.data.findings import (
    CUT,
    EXACT,
    EXCLUDED,
    KINDS,
    LABEL,
    NEAR,
    ODD,
    PLAIN,
    SMALL,
    UNREADABLE,
    Finding,
    check_findings_file,
    write_findings,
)
from keras_inception_v4.errors import check_at_least
from keras_inception_v4.files import check_name
from keras_inception_v4.inference.embedding import features_of
from keras_inception_v4.inference.opening import open_embedder
from keras_inception_v4.plots import require_matplotlib
from keras_inception_v4.preprocessing import covering_size
from keras_inception_v4.progress import Verbose
from keras_inception_v4.runs.settings import Settings

ONE_COLOUR = 0.5  # grey levels: least standard deviation of a thumbnail of more than one colour
KEPT = 0.5  # least share that the crop keeps, relative to a square picture
ENLARGED = 2.0  # factor: a picture that is enlarged more is small
HELD_OUT = ("test", "validation")  # kept; their duplicates in training are left out


class Audit(NamedTuple):
    """Result of an audit.

    Attributes:
        pictures: Number of pictures examined.
        findings: Findings, sorted by kind in the order of `KINDS`, then by score.
    """

    pictures: int
    findings: list[Finding]

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings of each kind that occurs."""
        counts = Counter(finding.kind for finding in self.findings)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}


def audit(
    data: str | os.PathLike,
    output: str | os.PathLike | None = None,
    *,
    model: str | os.PathLike | None = None,
    size: int | None = None,
    crop: float | None = None,
    nested: bool = False,
    images: str | os.PathLike | None = None,
    columns: Columns | None = None,
    task: str | None = None,
    gallery: str | os.PathLike | None = None,
    batch_size: int = 32,
    seed: int = 0,
    verbose: Verbose = "auto",
) -> Audit:
    """Audit a labelled dataset for problems.

    Every picture is read once. The audit finds unreadable files, duplicates within and across
    classes and parts, pictures of one colour, and small pictures. It finds pictures that lose more
    than half to the crop, compared with a square picture. With a model, it also finds wrong
    labels, odd ones out, and duplicates by the model's features.

    Args:
        data: Folder with a subfolder per class, table, or file of records, as in `train`.
        output: `.parquet` file for the findings, which `train --exclude` reads. `None` writes none.
        model: Run folder, `.keras` file or artefact of the embedding, or `"imagenet"` for the
            ImageNet weights. `None` audits without a model.
        size: Side in pixels of the images that a model will see. Defaults to the model's, else 299.
        crop: Share of the short side that a model will see. Defaults to the model's, else 0.875.
        nested: Whether folders that hold only folders count as classes.
        images: Folder that a table's paths are relative to. Defaults to the table's folder.
        columns: Names of a table's columns. Defaults to those of `Columns`.
        task: Task of a table. Detected if `None`.
        gallery: `.png` file for the first findings of each kind. `None` draws none.
        batch_size: Images per batch, with a model.
        seed: Seed for the cross-validation folds that judge labels.
        verbose: Whether to show progress.

    Returns:
        The number of pictures and the findings.

    Raises:
        FileNotFoundError: If the dataset or the model does not exist.
        ValueError: If the dataset or an argument is invalid.
        ImportError: If imagehash is missing, pyarrow for `output`, matplotlib for `gallery`, or
            cleanlab for `model`. The message names the extra.
        OSError: If the output cannot be written.
    """
    check_at_least(1, batch_size=batch_size, size=DEFAULT_SIZE if size is None else size)
    named = columns or Columns()
    Settings(  # rejects contradictory settings
        data=data, crop=EVALUATION_CROP if crop is None else crop, nested=nested, images=images,
        task=task, path_column=named.path, label_column=named.label, split_column=named.split,
        group_column=named.group,
    )  # fmt: skip
    if output is not None:
        check_findings_file(output)
    if gallery is not None:
        require_matplotlib()
        check_name(gallery)
    if model is not None:
        require_cleanlab()
    listed = list_pictures(data, nested=nested, images=images, columns=columns, task=task)
    extractor = None if model is None else open_embedder(None if model == "imagenet" else model)
    looks = look_at_all(listed.places, verbose=verbose)
    sound = np.array([i for i, look in enumerate(looks) if not look.reason], "int64")
    if extractor is not None:
        size, crop = size or min(extractor.size), crop or extractor.crop
    findings = [
        *_unreadable(listed, looks),
        *_shapes(listed, looks, sound, size or DEFAULT_SIZE, crop or EVALUATION_CROP),
    ]
    plain = [i for i in sound if looks[i].spread < ONE_COLOUR]
    for i in plain:
        findings.append(_finding(listed, i, PLAIN, "shows one colour"))
    textured = np.setdiff1d(sound, plain)
    small = np.array([looks[i].small for i in textured])
    pairs = textured[near_pairs(np.array([looks[i].hash for i in textured], "uint64"), small)]
    by_features = np.empty((0, 2), "int64")
    if extractor is not None and len(textured) > 1:
        places = [listed.places[i] for i in textured]
        features = features_of(extractor, places, batch_size=batch_size, verbose=verbose)
        around = look_around(features, small)
        by_features = textured[around.same]
        findings += [
            _finding(listed, textured[i], ODD, "is far from all others", score=1 / (1 + far))
            for i, far in around.odd
        ]
        wrong = wrong_labels(features, listed.labels[textured], listed.task, seed)
        findings += [
            _wrong_label(listed, each._replace(picture=int(textured[each.picture])))
            for each in wrong
        ]
    findings += _duplicates(listed, looks, pairs, by_features)
    findings.sort(key=lambda finding: (KINDS.index(finding.kind), finding.score, finding.path))
    if output is not None:
        write_findings(output, findings)
    if gallery is not None:
        draw_gallery(listed, findings, gallery)
    return Audit(len(listed.places) + len(listed.problems), findings)


def _finding(listed: Listed, index: int, kind: str, detail: str, **more) -> Finding:
    return Finding(
        listed.names[index],
        kind,
        detail,
        label=listed.label(index),
        part=listed.parts[index],
        exclude=kind in EXCLUDED,
        **more,
    )


def _unreadable(listed: Listed, looks: list[Look]) -> Iterator[Finding]:
    for name, reason in listed.problems:
        yield Finding(name, UNREADABLE, reason)
    for index, look in enumerate(looks):
        if look.reason:
            yield _finding(listed, index, UNREADABLE, look.reason)


def _shapes(
    listed: Listed, looks: list[Look], sound: np.ndarray, size: int, crop: float
) -> Iterator[Finding]:
    """Yield findings for pictures that the square crop cuts or that must be enlarged."""
    for index in sound:
        look = looks[index]
        height, width = covering_size(look.height, look.width, size, size, crop)
        kept = size * size / (height * width) / crop**2  # relative to a square picture
        sides = f"{look.width} x {look.height} pixels"
        if kept < KEPT:
            yield _finding(listed, index, CUT, f"{sides}: the crop keeps {kept:.0%}", score=kept)
        enlarged = height / look.height
        if enlarged > ENLARGED:
            detail = f"{sides}: is enlarged {enlarged:.1f} times"
            yield _finding(listed, index, SMALL, detail, score=1 / enlarged)


def _duplicates(
    listed: Listed, looks: list[Look], pairs: np.ndarray, by_features: np.ndarray
) -> Iterator[Finding]:
    """Yield each duplicate of a group except the kept one; yield all if their labels differ."""
    seen = {tuple(pair) for pair in pairs.tolist()}
    for group in groups_of(np.concatenate([pairs, by_features]), len(looks)):
        ranked = sorted(group, key=lambda i: (_rank(listed.parts[i]), i))
        kept, *others = (int(i) for i in ranked)
        labels = {listed.label(i) for i in group}
        rows = [(i, kept) for i in others] + ([(kept, others[0])] if len(labels) > 1 else [])
        for index, other in rows:
            exact = looks[index].digest == looks[other].digest
            where = [
                *(["with another label"] if listed.label(index) != listed.label(other) else []),
                *(
                    [f"in {listed.parts[other]}"]
                    if listed.parts[index] != listed.parts[other]
                    else []
                ),
            ]
            alike = exact or (min(index, other), max(index, other)) in seen
            detail = " ".join(
                ["is" if exact else "looks like", listed.names[other], *where]
                + ([] if alike or len(group) > 2 else ["to the model"])
            )
            yield _finding(
                listed, index, EXACT if exact else NEAR, detail,
                score=0.0 if where else 0.5, other=listed.names[other],
            )  # fmt: skip


def _rank(part: str) -> int:
    return HELD_OUT.index(part) if part in HELD_OUT else len(HELD_OUT)


def _wrong_label(listed: Listed, wrong: WrongLabel) -> Finding:
    if listed.task == REGRESSION:
        suggested = "|".join(f"{value:.4g}" for value in wrong.suggested)
    else:
        suggested = "|".join(listed.class_names[i] for i in wrong.suggested)
    detail = f"looks like {suggested or 'none of the classes'}"
    if listed.task == SINGLE_LABEL:
        detail += f" (probability of its label: {wrong.score:.1%})"
    if listed.task == MULTI_LABEL:
        detail += f" (quality of its labels: {wrong.score:.1%})"
    return _finding(listed, wrong.picture, LABEL, detail, score=wrong.score, suggested=suggested)
