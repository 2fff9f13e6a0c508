import math

import keras
import pytest

from keras_inception_v4 import InceptionV4
from keras_inception_v4.architecture import ENDPOINTS
from keras_inception_v4.costs import Cost, network_costs


def measured(model):
    """The same table, counted on the layers of a built model."""
    costs, weights, multiply_adds = [], 0, 0
    endpoints = iter([*ENDPOINTS, "predictions"])
    endpoint = next(endpoints)
    for layer in model.layers:
        weights += layer.count_params()
        if isinstance(layer, keras.layers.Conv2D):
            multiply_adds += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.BatchNormalization):
            multiply_adds += 2 * math.prod(layer.output.shape[1:])
        elif isinstance(layer, keras.layers.Dense):
            multiply_adds += math.prod(layer.kernel.shape)
        if layer.name == endpoint:
            grid = layer.output.shape[1] if len(layer.output.shape) == 4 else 1
            costs.append((endpoint, grid, layer.output.shape[-1], weights, multiply_adds))
            weights = multiply_adds = 0
            endpoint = next(endpoints, None)
    return costs


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize(("size", "channels", "classes"), [(299, 3, 1000), (75, 4, 7)])
def test_every_line_is_what_the_built_model_costs(
    full_network, variant, size, channels, classes, request
):
    keras.config.set_image_data_format("channels_last")
    if size == 299:
        model = full_network(variant)
    else:
        request.getfixturevalue("thin")
        model = InceptionV4(
            weights=None, input_shape=(size, size, channels), classes=classes, variant=variant
        )
    costs = network_costs(size, channels=channels, classes=classes)
    assert [(c.endpoint, *c[2:]) for c in costs] == measured(model)


def test_totals_are_the_published_ones():
    costs = network_costs()
    assert sum(cost.weights for cost in costs) == 42_711_400
    total = sum(cost.multiply_adds for cost in costs)
    assert f"{total / 1e9:.2f}" == "12.28"
    assert costs[-1] == Cost("predictions", "Head", 1, 1000, 1_537_000, 1_536_000)
    assert network_costs(classes=None) == costs[:-1]


def test_blocks_have_the_paper_s_names():
    blocks = [cost.block for cost in network_costs()]
    assert blocks == [
        *["Stem"] * 6,
        *["Inception-A"] * 4,
        "Reduction-A",
        *["Inception-B"] * 7,
        "Reduction-B",
        *["Inception-C"] * 3,
        "Head",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 74}, "Received size=74. It must be at least 75."),
        ({"channels": 0}, "Received channels=0. It must be at least 1."),
        ({"classes": 0}, "Received classes=0. It must be at least 1."),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        network_costs(**arguments)
