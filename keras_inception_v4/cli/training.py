"""Subcommands that train and measure."""

import os
import sys

from keras_inception_v4.cli.command import (
    add_command,
    add_images,
    add_nested,
    add_pixels,
    print_table,
)


def add_train(commands) -> None:
    """Adds `keras-inception-v4 train`."""
    command = add_command(
        commands,
        "train",
        _train,
        "train a classifier and write a run folder; the same command goes on after an interruption",
        "keras-inception-v4 train photos --output runs/photos\n"
        "  keras-inception-v4 train digits --weights none --output runs/digits\n"
        "  KERAS_BACKEND=jax keras-inception-v4 train million --weights none --recipe paper "
        "--batch-size 256 --output runs/million",
        reads={"data": "folder"},
        # Without AVX-512 TensorFlow leaves oneDNN off, with which a step is 1.7 times as fast at 75
        # pixels, 1.4 at 139 and as fast at 299.
        environment={"TF_ENABLE_ONEDNN_OPTS": "1"},
    )
    command.add_argument(
        "data",
        help="a folder with a subfolder a class, or with parts that hold such classes (train; val, "
        "valid, validation or dev; test); or digits, the scans embedded in scikit-learn",
    )
    command.add_argument("--output", required=True, metavar="FOLDER", help="the run folder")
    command.add_argument(
        "--weights",
        default="imagenet",
        help="imagenet; a path of weights, such as a run's model.keras; none: from scratch",
    )
    images = command.add_argument_group("images")
    images.add_argument("--image-size", type=int, help="side in pixels, at least 75, or 107 with "
                        "the paper's recipes (default: that for digits, else 299)")  # fmt: skip
    images.add_argument("--crop", type=float, help="share of the short side that is kept, above 0 "
                        "and at most 1 (default: 1.0 for digits, else 0.875)")  # fmt: skip
    images.add_argument(
        "--augment",
        choices=["photographs", "symbols", "none"],
        help="random changes: photographs are mirrored, symbols are not (default: symbols for "
        "digits, else photographs)",
    )
    images.add_argument(
        "--validation-split", type=float, default=0.2, help="share held out, if not split yet"
    )
    images.add_argument("--skip-corrupt", action="store_true", help="leave out what cannot be used")
    add_nested(images)
    fit = command.add_argument_group("training")
    fit.add_argument(
        "--recipe",
        choices=["adam", "paper", "paper-small"],
        help="from scratch: adam for a few thousand images, paper for a million, paper-small the "
        "paper's for a short run (default: adam)",
    )
    fit.add_argument("--head-epochs", type=int, help="of the head on cached features (default: 20)")
    fit.add_argument("--epochs", type=int, help="passes over the images (default: 5 of "
                     "fine-tuning, where 0 trains the head alone; from scratch 5 with adam, 100 "
                     "with paper, 8 with paper-small)")  # fmt: skip
    fit.add_argument("--batch-size", type=int, default=32, help="images a step, of all devices "
                     "and processes together")  # fmt: skip
    fit.add_argument("--from-endpoint", help="first endpoint to fine-tune (default: mixed_7a)")
    fit.add_argument("--head-learning-rate", type=float, help="of the head (default: 0.001)")
    fit.add_argument("--learning-rate", type=float, help="peak of fine-tuning (default: 0.0001)")
    fit.add_argument(
        "--balanced", action="store_true", help="weigh every class alike, with trained weights"
    )
    fit.add_argument(
        "--patience", type=int, help="epochs of fine-tuning without progress after which to stop"
    )
    fit.add_argument("--seed", type=int, default=0, help="of split, weights, order, augmentation")
    fit.add_argument(
        "--precision",
        choices=["auto", "float32", "mixed_bfloat16", "mixed_float16"],
        default="auto",
        help="dtype policy of training; auto is that of the run that goes on, else mixed_bfloat16 "
        "where that is known to be faster, else float32; the model is written in float32",
    )
    fit.add_argument(
        "--deterministic",
        action="store_true",
        help="the same numbers again on the same machine, somewhat slower",
    )
    fit.add_argument(
        "--tensorboard",
        action="store_true",
        help="write the curves of all phases for TensorBoard, into the run folder",
    )
    many = command.add_argument_group(
        "many processes", "From scratch, on the JAX backend; each uses all devices that it sees."
    )
    many.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    many.add_argument("--processes", type=int, default=1, metavar="N", help="how many there are")
    many.add_argument("--process-id", type=int, default=0, metavar="I", help="of this one, from 0")


def _train(options) -> None:
    from keras_inception_v4.transfer import train

    complete = _is_complete(options.output)
    report = train(
        options.data,
        options.output,
        weights=None if options.weights == "none" else options.weights,
        recipe=options.recipe,
        head_epochs=options.head_epochs,
        epochs=options.epochs,
        batch_size=options.batch_size,
        image_size=options.image_size,
        crop=options.crop,
        augment=options.augment,
        from_endpoint=options.from_endpoint,
        head_learning_rate=options.head_learning_rate,
        learning_rate=options.learning_rate,
        balanced=options.balanced,
        patience=options.patience,
        validation_split=options.validation_split,
        skip_corrupt=options.skip_corrupt,
        nested=options.nested,
        seed=options.seed,
        precision=options.precision,
        deterministic=options.deterministic,
        coordinator=options.coordinator,
        processes=options.processes,
        process_id=options.process_id,
        tensorboard=options.tensorboard,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    if complete:
        print(f"The run in {options.output} is complete; nothing was trained.")
    print_table(
        ["run", options.output],
        [
            ["training images", f"{report['training_images']:,}"],
            ["held-out images", f"{report['images']:,}"],
            ["left out", report["left_out"]],
            *([f"epochs, {name}", epochs] for name, epochs in report["epochs"].items()),
            ["weights", f"{report['weights']:,}"],
            ["time", f"{report['seconds']:.0f} s"],
            *_metrics(report, "held-out "),
        ],
    )


def _metrics(report: dict, prefix: str = "") -> list[list]:
    return [
        [f"{prefix}accuracy", f"{report['accuracy']:.1%}"],
        [f"{prefix}top-5 accuracy", f"{report['top_5_accuracy']:.1%}"],
        ["calibration error", f"{report['calibration_error']:.1%}"],
    ]


def _is_complete(output: str) -> bool:
    return os.path.isfile(os.path.join(output, "report.json"))


def add_evaluate(commands) -> None:
    """Adds `keras-inception-v4 evaluate`."""
    command = add_command(
        commands,
        "evaluate",
        _evaluate,
        "measure a classifier on labelled images",
        "keras-inception-v4 evaluate runs/photos/model.keras photos/validation\n"
        "  keras-inception-v4 evaluate --weights imagenet ILSVRC2012/validation",
        reads={"model": "model file", "data": "folder"},
    )
    command.add_argument(
        "model", nargs="?", help="a run folder or a .keras file; InceptionV4 without it"
    )
    command.add_argument(
        "data", help="a folder with a subfolder a class; synsets for ImageNet weights"
    )
    model = command.add_argument_group("model")
    model.add_argument(
        "--weights", default="imagenet", help="without a model: imagenet or a path of weights"
    )
    add_pixels(model)
    add_nested(add_images(command, batch_size=32))
    answer = command.add_argument_group("answer")
    answer.add_argument("--report", metavar="FILE", help="a .json file for all numbers")
    answer.add_argument("--picture", metavar="FILE", help="a .png of the confusion matrix")


def _evaluate(options) -> None:
    from keras_inception_v4.predict import evaluate_folder

    report = evaluate_folder(
        options.model,
        options.data,
        weights=options.weights,
        batch_size=options.batch_size,
        skip_corrupt=options.skip_corrupt,
        nested=options.nested,
        pixels=options.pixels,
        report=options.report,
        picture=options.picture,
    )
    print_table(
        ["measured", options.model or options.weights],
        [["images", f"{report['images']:,}"], ["left out", report["left_out"]], *_metrics(report)],
    )
    if len(report["per_class"]) <= 20:
        print_table(
            ["class", "precision", "recall", "images"],
            [
                [name, f"{row['precision']:.1%}", f"{row['recall']:.1%}", row["images"]]
                for name, row in report["per_class"].items()
            ],
        )
