"""Names of each tensor in this package, TF-slim, timm and Keras 2, derived from `architecture`.

This package names a tensor `layer/variable`, for example
`mixed_5b_branch_0_conv2d_0a_1x1_conv/kernel`. These names are the keys of every mapping here.
"""

from keras_inception_v4.architecture import (
    AUXILIARY_HEAD,
    HEAD,
    Conv,
    Pool,
    Unit,
    auxiliary_units,
    convolutions,
    walk,
)

FIRST_KERNEL = "conv2d_1a_3x3_conv/kernel"
BATCH_NORM = ("beta", "moving_mean", "moving_variance")


def network_tensors(variant: str = "released") -> list[str]:
    """Return the names of all tensors of the network and its head, in the order of the table."""
    names = []
    for unit in convolutions(variant):
        names.append(f"{unit.name}_conv/kernel")
        names += [f"{unit.name}_bn/{variable}" for variable in BATCH_NORM]
    return [*names, f"{HEAD}/kernel", f"{HEAD}/bias"]


def is_of_head(tensor: str, head: str) -> bool:
    """Return whether a tensor belongs to a head: to its dense layer or layers only it uses."""
    return tensor.startswith(f"{head}/") or (
        head == AUXILIARY_HEAD and tensor.startswith("auxlogits_")
    )


def _from_units(units, unit_names, variables, head, head_names) -> dict[str, str]:
    names = {}
    for unit, other in zip(units, unit_names, strict=True):
        names[f"{unit.name}_conv/kernel"] = other[0] + variables["kernel"]
        for variable in BATCH_NORM:
            names[f"{unit.name}_bn/{variable}"] = other[1] + variables[variable]
    names[f"{head}/kernel"], names[f"{head}/bias"] = head_names
    return names


def slim_names(variant: str = "released") -> dict[str, str]:
    """Return the name of each tensor in the authors' checkpoint."""
    scopes = []
    for unit in convolutions(variant):
        parts = [unit.endpoint.capitalize()]
        if unit.branch is not None:
            op = unit.name.removeprefix(f"{unit.endpoint}_branch_{unit.branch}_")
            parts += [f"Branch_{unit.branch}", op.capitalize()]
        scopes.append("/".join(parts))
    return _from_scopes(convolutions(variant), scopes, HEAD, "Logits/Logits")


def slim_auxiliary_names() -> dict[str, str]:
    """Return the name of each tensor of the auxiliary head in the authors' checkpoint."""
    units = [unit for unit in auxiliary_units() if isinstance(unit.op, Conv)]
    scopes = [f"AuxLogits/{unit.name.removeprefix('auxlogits_').capitalize()}" for unit in units]
    return _from_scopes(units, scopes, AUXILIARY_HEAD, "AuxLogits/Aux_logits")


def _from_scopes(units, scopes, head, head_scope) -> dict[str, str]:
    return _from_units(
        units,
        [(f"InceptionV4/{scope}", f"InceptionV4/{scope}/BatchNorm") for scope in scopes],
        {"kernel": "/weights", **{variable: f"/{variable}" for variable in BATCH_NORM}},
        head,
        (f"InceptionV4/{head_scope}/weights", f"InceptionV4/{head_scope}/biases"),
    )


TIMM_VARIABLES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def timm_names(variant: str = "released") -> dict[str, str]:
    """Return the name of each tensor in the state dict of timm and Cadene."""
    prefixes = []
    for index, (_, branches) in enumerate(walk(variant)):
        forked = any(unit.fork is not None for units in branches for unit in units)
        pooled = any(len(units) == 1 and isinstance(units[0].op, Pool) for units in branches)
        for units in branches:
            prefixes += [
                f"features.{index}{_timm_place(unit, units, forked, pooled and len(branches) == 2)}"
                for unit in units
                if isinstance(unit.op, Conv)
            ]
    return _from_units(
        convolutions(variant),
        [(f"{prefix}.conv.", f"{prefix}.bn.") for prefix in prefixes],
        TIMM_VARIABLES,
        HEAD,
        ("last_linear.weight", "last_linear.bias"),
    )


def _timm_place(unit: Unit, units: list[Unit], forked: bool, beside_a_pool: bool) -> str:
    """Return the path of a convolution inside timm's module of its block."""
    if unit.branch is None:
        return ""
    if beside_a_pool:
        return ".conv"
    branch = f".branch{unit.branch}"
    if len(units) == 1:
        return branch
    if forked and isinstance(units[0].op, Conv):
        side = "" if unit.fork is None else "ab"[unit.fork]
        return f"{branch}_{unit.position}{side}"
    return f"{branch}.{unit.position}"


def keras2_names(variant: str = "released") -> dict[str, str]:
    """Return the name of each tensor in a Keras 2 file, as `group/variable`.

    Groups are numbered from 0 in the order of the table.
    """
    return _from_units(
        convolutions(variant),
        [
            (f"conv2d_{index}/", f"batch_normalization_{index}/")
            for index in range(len(convolutions(variant)))
        ],
        {name: name for name in ("kernel", *BATCH_NORM)},
        HEAD,
        ("dense_0/kernel", "dense_0/bias"),
    )
