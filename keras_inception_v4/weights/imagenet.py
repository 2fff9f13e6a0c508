"""The released ImageNet weights: their record, download and check."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_inception_v4.errors import in_one_line


@dataclass(frozen=True)
class WeightsRecord:
    """Facts about a released weight file. Its size is in bytes, accuracies are in percent."""

    repository: str
    file: str
    revision: str
    sha256: str
    size: int
    classes: int
    weights: int
    input_size: tuple[int, int, int]
    pixel_range: tuple[float, float]
    variant: str
    licence: str
    source: str
    top1: float
    top5: float
    protocol: str

    @property
    def url(self) -> str:
        """Address of the file, on the mirror that `HF_ENDPOINT` names if it is set."""
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        return f"{endpoint}/{self.repository}/resolve/{self.revision}/{self.file}"


IMAGENET = WeightsRecord(
    repository="timm/inception_v4.tf_in1k",
    file="model.safetensors",
    revision="24edbb8f3ca9aab790ab91929a4101165581b168",
    sha256="a756a086851c8d5a8de135ec15c76b90ea56cb5aef450e3299107e659e725bb1",
    size=171_000_000,
    classes=1000,
    weights=42_711_400,
    input_size=(299, 299, 3),
    pixel_range=(-1.0, 1.0),
    variant="released",
    licence="Apache-2.0",
    source="timm's port of the authors' TF-slim checkpoint of 2016-09-09",
    top1=80.144,
    top5=94.982,
    protocol="timm's results table: ILSVRC-2012 validation set, 299x299, one central crop of "
    "0.875, bicubic",
)
"""The ImageNet weights: address, SHA-256, licence, and published accuracies with their protocol.

Examples:
    ```python
    from keras_inception_v4 import IMAGENET

    print(IMAGENET.url, IMAGENET.licence, IMAGENET.top1)
    ```
"""

TIMEOUT = 5  # seconds to wait for the server's first response


def fetch(record: WeightsRecord = IMAGENET) -> Path:
    """Return the path of the released file in the hub's cache, after a download if needed.

    `huggingface_hub` handles cache, mirrors, proxies, resuming, locks and offline mode
    (`HF_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`). The hash is checked here, before the file is
    parsed. A wrong file is removed from the cache.

    Raises:
        OSError: If the file cannot be fetched or written. The message gives the address, the
            cause, the hash and how to pass a local copy.
        ValueError: If the file has the wrong hash.
    """
    import huggingface_hub

    where: dict[str, Any] = {
        "repo_id": record.repository,
        "filename": record.file,
        "revision": record.revision,
    }
    try:
        cached = huggingface_hub.try_to_load_from_cache(**where)
        if isinstance(cached, str):
            path = Path(cached)
        else:
            if not huggingface_hub.constants.HF_HUB_OFFLINE:
                # Fail fast: the download itself retries for half a minute.
                huggingface_hub.get_hf_file_metadata(
                    huggingface_hub.hf_hub_url(**where), timeout=TIMEOUT
                )
            path = Path(huggingface_hub.hf_hub_download(**where, etag_timeout=TIMEOUT))
    except Exception as error:  # the hub and its HTTP library have error classes of their own
        raise OSError(_unreachable(record, error)) from error
    check_hash(path, record)
    return path


FETCHERS: dict[str, Callable[[], Path]] = {"imagenet": fetch}
"""Functions that fetch weights and return their path, by name."""


def check_hash(path: Path, record: WeightsRecord) -> None:
    """Check the SHA-256 of a file, and remove the file if it is wrong.

    Raises:
        ValueError: If the SHA-256 is not the one in the record.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() == record.sha256:
        return
    removed = "It was removed from the cache; try again."
    try:
        path.resolve().unlink()  # the blob in the cache; `path` is a link to it
        path.unlink(missing_ok=True)
    except OSError as error:
        removed = f"It could not be removed ({error}); delete it and try again."
    raise ValueError(
        f"{path} is not the released weight file: its SHA-256 is {digest.hexdigest()}, but it "
        f"should be {record.sha256}. {removed}"
    )


def _unreachable(record: WeightsRecord, error: Exception) -> str:
    return (
        f"The ImageNet weights are not in the cache and could not be fetched from {record.url} "
        f"({in_one_line(error)}). If you are online, try again, or set HF_ENDPOINT to a "
        f"mirror. If not, copy the file (SHA-256 {record.sha256}) to this machine and pass "
        "weights='path/to/model.safetensors' (train: --weights PATH), or weights=None (none) for "
        "random initialization. Commands with --model take a run folder or a .keras file; "
        "`keras-inception-v4 convert` makes one of a weight file."
    )
