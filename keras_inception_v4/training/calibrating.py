"""Temperature scaling, which makes probabilities match how often a classifier is right."""

import keras
import numpy as np

from keras_inception_v4.architecture import MULTI_LABEL, REGRESSION
from keras_inception_v4.evaluation import answers_and_targets
from keras_inception_v4.inspection import check_classifier, classifier_of, task_of
from keras_inception_v4.progress import Verbose
from keras_inception_v4.tasks import Measured, require_scikit_learn

RANGE = (0.05, 20.0)  # bounds of the temperature
SMALLEST = 1e-37  # lowest probability to take the logarithm of; float32 loses digits below
CLOSEST = 1e-7  # least distance of a probability from 1, for the same reason


def calibrate(
    model: keras.Model,
    data,
    *,
    batch_size: int = 32,
    pixels: str | None = None,
    verbose: Verbose = "auto",
) -> float:
    """Scale a classifier's logits so that its probabilities match its accuracy.

    Of predictions with a probability of 90 %, about 90 % are then right (temperature scaling). The
    weights of the layer that makes the logits are divided by one number, the temperature: the one
    with the lowest Brier score on the given images. The order of the classes stays. A model saved
    or exported afterwards is calibrated too.

    Source: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", 2017, section
    4.2. They minimize cross entropy, which a few wrong predictions of high probability decide:
    five of 360 digits made the first command's network less sure than it should be, with a
    calibration error of 17 % on other digits instead of 9 %. The Brier score gives 4 %.

    Args:
        model: Model of this package, or built on it, for one class or several an image. Changed in
            place.
        data: Labelled images that the model was not trained on, as in `evaluate`.
        batch_size: Images per batch, for data that are not batched yet. Defaults to 32.
        pixels: What the model takes, as in `evaluate`.
        verbose: As in `keras.Model.fit`; 0 shows no progress.

    Returns:
        The temperature. Above 1 the probabilities were too high.

    Raises:
        ValueError: If the model predicts quantities, or no layer of weights makes its logits; and
            as `evaluate`.
        ImportError: If scikit-learn is not installed; the message names the extra.

    Examples:
        ```python
        import keras
        from keras_inception_v4 import calibrate
        from keras_inception_v4.data.digits import load_digits_data

        model = keras.saving.load_model("runs/digits/model.keras")
        held_out = load_digits_data(75).validation
        print(f"temperature {calibrate(model, (held_out.pixels, held_out.labels)):.2f}")
        ```
    """
    require_scikit_learn()
    own = classifier_of(model)
    check_classifier(own)
    task = task_of(own)
    if task.name == REGRESSION:
        raise ValueError(
            f"{own.name!r} predicts quantities, which have no probability to calibrate."
        )
    layer = _layer_of_logits(own)
    given = answers_and_targets(model, data, batch_size=batch_size, pixels=pixels, verbose=verbose)
    temperature = _best_temperature(given, several=task.name == MULTI_LABEL)
    for weight in layer.weights:
        weight.assign(weight / temperature)
    return temperature


def _layer_of_logits(model: keras.Model):
    """Return the dense layer of the logits; check that it has at most one activation."""
    inner = model
    while isinstance(inner.layers[-1], keras.Model):
        inner = inner.layers[-1]
    after = (keras.layers.Activation, keras.layers.Softmax)
    layer = next(each for each in reversed(inner.layers) if not isinstance(each, after))
    if not isinstance(layer, keras.layers.Dense) or getattr(layer, "quantization_mode", None):
        raise ValueError(
            f"The logits of {model.name!r} come from {layer.name!r}, a {type(layer).__name__}. "
            "Calibration scales the weights of a dense layer that is not quantized."
        )
    following = inner.layers[inner.layers.index(layer) + 1 :]
    bent = [
        each.name
        for each in (layer, *following)
        if getattr(each, "activation", None) is not keras.activations.linear
    ]
    if len(bent) > 1:  # scaling the logits would not scale the second one's input
        raise ValueError(
            f"{model.name!r} has several activations after its last weights, in {', '.join(bent)}. "
            "Calibration needs a single activation after the logits."
        )
    return layer


def _best_temperature(given: Measured, *, several: bool) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.special import expit, softmax

    answers = given.answers.astype("float64")
    if several:
        answers = np.clip(answers, CLOSEST, 1 - CLOSEST)
        logits = np.log(answers) - np.log1p(-answers)
        targets = np.asarray(given.targets, "float64")
    else:
        logits = np.log(np.maximum(answers, SMALLEST))
        targets = np.eye(answers.shape[1])[given.targets]

    def brier_score(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        found = expit(scaled) if several else softmax(scaled, axis=1)
        each = np.square(found - targets).sum(axis=1)
        return float(np.average(each, weights=given.weights))

    bounds = tuple(np.log(RANGE))
    found = minimize_scalar(brier_score, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
