"""The subcommand about the network itself."""

from keras_inception_v4.architecture import DEFAULT_SIZE, IMAGENET_CLASSES
from keras_inception_v4.cli.command import add_command, print_table


def add_summary(commands) -> None:
    """Add `keras-inception-v4 summary`."""
    command = add_command(
        commands,
        "summary",
        _summary,
        "print the paper's table of blocks with the weights and multiply-adds of each",
        "keras-inception-v4 summary --picture network.png",
        needs_keras=False,
    )
    network = command.add_argument_group("network")
    network.add_argument(
        "--image-size",
        type=int,
        default=DEFAULT_SIZE,
        metavar="N",
        help="side of the input in pixels",
    )
    network.add_argument(
        "--channels", type=int, default=3, metavar="N", help="channels of the input"
    )
    network.add_argument(
        "--classes", type=int, default=IMAGENET_CLASSES, metavar="N", help="classes of the head"
    )
    answer = command.add_argument_group("output")
    answer.add_argument("--picture", metavar="FILE", help="a .png file of the paper's figures")


def _summary(options) -> None:
    from keras_inception_v4.costs import network_costs

    costs = network_costs(options.image_size, channels=options.channels, classes=options.classes)
    rows = [
        (
            cost.block,
            cost.endpoint,
            f"{cost.grid} x {cost.grid}",
            cost.channels,
            f"{cost.weights:,}",
            f"{cost.multiply_adds / 1e9:.3f} G",
        )
        for cost in costs
    ]
    weights = sum(cost.weights for cost in costs)
    multiply_adds = sum(cost.multiply_adds for cost in costs)
    total = ("total", "", "", "", f"{weights:,}", f"{multiply_adds / 1e9:.2f} G")
    print_table(
        ["block", "endpoint", "grid", "channels", "weights", "multiply-adds"], [*rows, total]
    )
    if options.picture:
        from keras_inception_v4.diagram import draw_network

        draw_network(options.picture)
        print(f"{options.picture} shows the blocks.")
