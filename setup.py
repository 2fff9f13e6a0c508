"""All metadata of the package; pyproject.toml holds the build system and tool settings."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (HERE / "keras_inception_v4" / "__init__.py").read_text()
)[1]

HOME = ""  # public address of the repository; .ci/release.py asks for it
LINKS = {"Paper": "https://arxiv.org/abs/1602.07261"}
if HOME:
    LINKS |= {
        "Source": HOME,
        "Documentation": f"{HOME}/tree/main/docs",
        "Changelog": f"{HOME}/blob/main/CHANGELOG.md",
        "Issues": f"{HOME}/issues",
    }

DEMO = ["scikit-learn>=1.4", "matplotlib>=3.8"]
LITERT = ["keras>=3.15", "ai-edge-litert>=2.3"]
ONNX = ["onnx>=1.23", "onnxruntime>=1.32", "tf2onnx>=1.17"]
OPENVINO = ["keras>=3.15", "openvino>=2026.4", "nncf>=3.4"]
EXPORT = [*LITERT, *ONNX, *OPENVINO]
NOTEBOOKS = [*DEMO, *EXPORT, "scikit-image>=0.24", "ipykernel>=6.29", "ipywidgets>=8.1"]
TENSORBOARD = ["tensorboardX>=2.6.4"]
TABLES = [*DEMO, "pyarrow>=15"]
DATASETS = [*TABLES, "datasets>=3"]
RAY = [*TABLES, "ray[data,serve]>=2.49", "fsspec>=2024.2"]
AUDIT = [*TABLES, "imagehash>=4.3", "cleanlab>=2.7", "threadpoolctl>=3.1"]
RECORDS = [*DEMO, "array_record>=0.6"]
DOCS = ["mkdocs-material>=9.7", "mkdocstrings[python]>=1"]
TESTING = [
    "nbmake>=1.5",
    "pytest>=8.0",
    "pytest-xdist>=3.5",
    "hypothesis>=6.100",
    "mediapipe>=1.2",
    "playwright>=1.50",
    "tritonclient[http]>=2.50",
]
TEST = [*NOTEBOOKS, *AUDIT, *DATASETS, *RECORDS, *RAY, *TENSORBOARD, *TESTING]

setup(
    name="keras-inception-v4",
    version=VERSION,
    description="Inception-v4 for Keras 3: the model, its ImageNet weights, features, "
    "transfer learning and verified export",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The keras_inception_v4 maintainers",
    project_urls=LINKS,
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["keras_inception_v4", "keras_inception_v4.*"]),
    package_data={
        "keras_inception_v4": ["py.typed"],
        "keras_inception_v4.preprocessing": ["imagenet_classes.csv"],
        "keras_inception_v4.export": ["page/*"],
        "keras_inception_v4.inference": ["report.html"],
    },
    install_requires=[
        "tensorflow>=2.18",
        "keras>=3.8",
        "numpy>=1.26",
        "pillow>=10.1",
        "huggingface_hub>=0.26",
        "safetensors>=0.4.3",
        "tqdm>=4.60",
        "grain>=0.2.18",
    ],
    extras_require={
        "demo": DEMO,
        "litert": LITERT,
        "onnx": ONNX,
        "openvino": OPENVINO,
        "export": EXPORT,
        "notebooks": NOTEBOOKS,
        "tables": TABLES,
        "datasets": DATASETS,
        "audit": AUDIT,
        "records": RECORDS,
        "ray": RAY,
        "tensorboard": TENSORBOARD,
        "test": TEST,
        "docs": DOCS,
    },
    entry_points={"console_scripts": ["keras-inception-v4 = keras_inception_v4.cli:main"]},
    keywords="keras inception-v4 image-classification transfer-learning imagenet onnx",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
