"""What a classifier's answers are worth."""

import numpy as np


def classification_report(probabilities, labels, class_names: list[str]) -> dict:
    """Metrics of a classifier on labelled images.

    Args:
        probabilities: `(images, classes)`.
        labels: integer labels `(images,)`.
        class_names: one name a class.

    Returns:
        `images`, `accuracy` (0 to 1), `confusion_matrix` (counts, true classes down,
        predicted ones across) and `per_class` (name to precision, recall and images).

    Raises:
        ImportError: without scikit-learn; the message names the extra.
    """
    try:
        from sklearn import metrics
    except ImportError:
        raise ImportError(
            "Evaluation needs scikit-learn: pip install 'keras-inception-v4[demo]'"
        ) from None
    predicted = np.argmax(probabilities, axis=1)
    classes = np.arange(len(class_names))
    precision, recall, _, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0
    )
    return {
        "images": len(labels),
        "accuracy": float(np.mean(predicted == labels)),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "images": int(n)}
            for name, p, r, n in zip(class_names, precision, recall, support, strict=True)
        },
        "confusion_matrix": metrics.confusion_matrix(labels, predicted, labels=classes).tolist(),
    }
