"""Keras's dtype policies for training, and which of them is the fastest here."""

import contextlib
from collections.abc import Iterator

import keras

AUTO = "auto"  # `fastest_precision`
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@contextlib.contextmanager
def dtype_policy(precision: str) -> Iterator[None]:
    """Keras's global dtype policy inside the block; the old one after it.

    Raises:
        ValueError: if `precision` is none of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Received precision={precision!r}. Allowed are {', '.join(PRECISIONS)}.")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def fastest_precision() -> str:
    """`"mixed_bfloat16"` where the backend's device computes in bfloat16, else `"float32"`.

    Elsewhere bfloat16 is emulated: with AVX2 alone, a training step of 32 images of 75 pixels took
    TensorFlow 6.3 times as long as in float32. Known are TPUs, NVIDIA's GPUs, and x86 processors by
    their flags; what is not known counts as without.
    """
    accelerated = _accelerator_has_bfloat16()
    if accelerated is None:
        accelerated = processor_has_bfloat16()
    return "mixed_bfloat16" if accelerated else "float32"


def _accelerator_has_bfloat16() -> bool | None:
    """`None` where the backend computes on the processor."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("TPU"):
            return True
        if gpus := tf.config.list_physical_devices("GPU"):
            details = tf.config.experimental.get_device_details(gpus[0])
            return details.get("compute_capability", (0, 0)) >= (8, 0)
    elif backend == "jax":
        import jax

        device = jax.devices()[0]
        if device.platform == "tpu":
            return True
        if device.platform == "gpu":  # "8.0", or the name of an architecture that is not NVIDIA's
            major, _, minor = getattr(device, "compute_capability", "").partition(".")
            return major.isdigit() and minor.isdigit() and int(major) >= 8
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return None


def processor_has_bfloat16() -> bool:
    """Whether its flags have bfloat16; on x86."""
    import cpuinfo

    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpuinfo.get_cpu_info().get("flags", ()))
