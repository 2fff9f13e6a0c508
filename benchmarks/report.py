"""Results of the subjects: as JSON, Markdown and charts, and compared with an earlier run."""

import importlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.workers import NotMeasuredError, Spread, ratio

BEGIN, END = "<!-- written by python -m benchmarks -->", "<!-- end -->"
BEGIN_CHOSEN = "<!-- chosen by python -m benchmarks -->"  # instead of all ratios, those of CHOSEN
CHOSEN = (
    ("inference", "SavedModel / the best peer in PyTorch or Keras, float32"),
    ("inference", "OpenVINO int8 / SavedModel"),
    ("training", "training, float32: the best of ours / of timm"),
    ("training", "training, bfloat16: the best of ours / of timm"),
    ("head", "seconds of train_head / of fit"),
    ("embedding", "embed from files / predict in memory"),
    ("exports", "same top class, the least of int8"),
    ("digits", "accuracy"),
)
"""Subject and ratio that a user decides by."""
# What a processor computes in decides more than its name: flags in /proc/cpuinfo.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
PACKAGES = (
    "keras", "tensorflow", "torch", "jax", "openvino", "onnxruntime", "ai-edge-litert", "timm",
    "zeromodels",
)  # fmt: skip


COLOURS = {"this package": "#2563a8", "peers": "#d9924a", "limit or baseline": "#b4bbc4"}
PEERS = ("zeromodels", "timm", "InceptionV3", "InceptionResNetV2")
PRECISIONS = ("float32", "bfloat16", "float16", "int8")


class Row(NamedTuple):
    """One line of a table.

    `value` in the table's unit; `ratio` to the table's reference, above 1 for better; `share` of
    the physical limit; `note` why there are no figures, or a remark.
    """

    name: str
    value: Spread | None = None
    ratio: Spread | None = None
    share: float | None = None
    note: str = ""


class Table(NamedTuple):
    """Rows in the order of the table; `chart` names the picture to draw of the ratios, if any."""

    title: str
    unit: str
    reference: str
    rows: list[Row]
    chart: str = ""


class Claim(NamedTuple):
    """A ratio with what is wanted of it: at least, or at most, `wanted`."""

    text: str
    value: Spread
    wanted: float
    at_most: bool = False

    @property
    def held(self) -> bool:
        if self.at_most:
            return self.value.median <= self.wanted
        return self.value.median >= self.wanted


class Findings(NamedTuple):
    """What a subject gives."""

    tables: list[Table]
    claims: list[Claim]
    remarks: list[str] = []  # noqa: RUF012  (never changed)


def measured(subject: str, run: Path) -> Findings:
    """Runs a subject; one that cannot be measured gives a row that says why."""
    try:
        return importlib.import_module(f"benchmarks.{subject}").measure(run)
    except NotMeasuredError as reason:
        row = Row(subject, note=str(reason))
        return Findings([Table(subject.capitalize(), "", "", [row])], [])


def speed_rows(
    seconds: dict[str, list[float]], reasons: dict[str, str], images: int, reference: str
) -> list[Row]:
    """Images a second, how many times those of the reference, and why others have none."""
    rows = [
        Row(
            name,
            Spread.of([images / value for value in taken]),
            ratio(seconds, name, reference) if reference in seconds else None,
        )
        for name, taken in seconds.items()
    ]
    return rows + [Row(name, note=reason) for name, reason in reasons.items()]


def machine() -> dict:
    """Where and with what it was measured."""
    lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    told = {key.strip(): value.strip() for key, _, value in lines}
    flags = told.get("flags", "").split()
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": told.get("model name") or platform.processor(),
        "instructions": " ".join(name for name in INSTRUCTIONS if name in flags),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **versions,
    }


def read_results(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def entry(findings: Findings, seconds: float) -> dict:
    """A subject's part of `results.json`."""
    return {
        "machine": machine(),
        "seconds": round(seconds),
        "tables": [
            {**table._asdict(), "rows": [_rounded(row) for row in table.rows]}
            for table in findings.tables
        ],
        "claims": [
            {**claim._asdict(), "value": _digits(claim.value), "held": claim.held}
            for claim in findings.claims
        ],
        "remarks": findings.remarks,
    }


def _rounded(row: Row) -> dict:
    share = None if row.share is None else round(row.share, 4)
    return {
        "name": row.name,
        "value": _digits(row.value),
        "ratio": _digits(row.ratio),
        "share": share,
        "note": row.note,
    }


def _digits(spread: Spread | None) -> list[float] | None:
    return None if spread is None else [float(f"{value:.4g}") for value in spread]


def write(results: dict, folder: Path, pages: Sequence[Path] = ()) -> None:
    """Writes `results.json`, `RESULTS.md` and the charts, and the summaries in other pages."""
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks`; `benchmarks/README.md` says how it measures. Ratios "
        "are the result: of speed, above 1 is faster; each is the median of the rounds, with the "
        "least and the largest. Absolute figures belong to the machine.",
    ]
    for subject, found in results.items():
        title = subject.upper() if subject == "gpu" else subject.capitalize().replace("_", "-")
        lines += ["", f"## {title}", "", _where(found), *_claims(found["claims"])]
        lines += [line for remark in found["remarks"] for line in ("", remark)]
        for table in found["tables"]:
            lines += ["", *_markdown(table)]
            if table["chart"] and any(row["ratio"] for row in table["rows"]):
                draw(table, folder / "charts" / f"{table['chart']}.png")
                lines += ["", f"![{table['title']}](charts/{table['chart']}.png)"]
    (folder / "RESULTS.md").write_text("\n".join(lines) + "\n")
    for page in pages:
        content = page.read_text()
        begin, chosen = (BEGIN, None) if BEGIN in content else (BEGIN_CHOSEN, CHOSEN)
        before, rest = content.split(begin)
        _, after = rest.split(END)
        page.write_text(f"{before}{begin}\n{_summary(results, chosen)}\n{END}{after}")


def _summary(results: dict, chosen: Collection[tuple[str, str]] | None) -> str:
    """Ratios of which something is wanted, as a table: all, or those that are chosen."""
    lines = ["| subject | ratio | measured | wanted |", "|---|---|---|---|"]
    for subject, found in results.items():
        for claim in found["claims"]:
            if chosen is not None and (subject, claim["text"]) not in chosen:
                continue
            missed = "" if claim["held"] else ", **missed**"
            cells = [f"`{subject}`", claim["text"], text(claim["value"]), wanted(claim) + missed]
            lines.append(_line(cells))
    return "\n".join(lines)


def _where(found: dict) -> str:
    machine = dict(found["machine"])
    date, processor, cores = (machine.pop(key) for key in ("date", "processor", "cores"))
    if instructions := machine.pop("instructions", ""):
        processor += f", {instructions}"
    versions = ", ".join(f"{name} {version}" for name, version in machine.items())
    return f"{date}, {cores} cores ({processor}), {found['seconds']} s; {versions}."


def _claims(claims: list[dict]) -> list[str]:
    if not claims:
        return []
    lines = ["", "| ratio | measured | wanted | |", "|---|---|---|---|"]
    for claim in claims:
        held = "held" if claim["held"] else "**missed**"
        lines.append(f"| {claim['text']} | {text(claim['value'])} | {wanted(claim)} | {held} |")
    return lines


def wanted(claim: dict) -> str:
    """What is wanted of a claim, in words."""
    return f"{'at most' if claim['at_most'] else 'at least'} {claim['wanted']}"


def text(spread: list[float] | Spread | None, digits: int = 3) -> str:
    """Median with least and largest."""
    if spread is None:
        return ""
    median, low, high = (f"{value:.{digits}g}" for value in spread)
    return median if low == high else f"{median} ({low} to {high})"


def _markdown(table: dict) -> list[str]:
    rows = table["rows"]
    columns = ["", table["unit"]]
    columns += [_ratio_title(table)] * any(row["ratio"] for row in rows)
    columns += ["of the limit"] * any(row["share"] is not None for row in rows)
    lines = [f"**{table['title']}**", "", _line(columns), _line(["---"] * len(columns))]
    for row in rows:
        cells = [row["name"], text(row["value"])]
        if row["value"] is None:
            cells[1] = f"not measured: {row['note']}"
        elif row["note"]:
            cells[0] += f" ({row['note']})"
        if any(other["ratio"] for other in rows):
            cells.append(text(row["ratio"]))
        if any(other["share"] is not None for other in rows):
            cells.append("" if row["share"] is None else f"{row['share']:.0%}")
        lines.append(_line(cells))
    return lines


def _ratio_title(table: dict) -> str:
    """What a table's ratios are: of speed where it measures time, else of its unit."""
    speed = table["unit"] in ("s", "images/s")
    return f"{'times as fast as' if speed else table['unit'] + ' of'} {table['reference']}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def draw(table: dict, path: Path) -> None:
    """Draw the ratios as bars with their spread: a colour a kind, a group a precision."""
    import matplotlib.pyplot as plt

    rows = [row for row in table["rows"] if row["ratio"]]
    places, height, group = [], 0.0, precision(rows[0]["name"])
    for row in rows:
        height += 1 if precision(row["name"]) == group else 1.6
        group = precision(row["name"])
        places.append(height)
    figure, axis = plt.subplots(figsize=(8, 1 + 0.28 * height), layout="constrained")
    for kind, colour in COLOURS.items():
        bars = [
            (at, row) for at, row in zip(places, rows, strict=True) if side(row["name"]) == kind
        ]
        if not bars:
            continue
        medians, low, high = zip(*(row["ratio"] for _, row in bars), strict=True)
        errors = [
            [middle - end for middle, end in zip(medians, low, strict=True)],
            [end - middle for middle, end in zip(medians, high, strict=True)],
        ]
        heights = [at for at, _ in bars]
        axis.barh(heights, medians, xerr=errors, color=colour, ecolor="#444444", label=kind)
        for at, median, end in zip(heights, medians, high, strict=True):
            axis.annotate(f"{median:.2f}", (end, at), (4, 0), textcoords="offset points",
                          va="center", fontsize=8)  # fmt: skip
    axis.set_yticks(places, [row["name"] for row in rows])
    axis.set_ylim(height + 1, 0)
    axis.margins(x=0.12)
    axis.axvline(1, color="black", linewidth=1, linestyle="--", zorder=0)
    axis.set_xlabel(f"{_ratio_title(table)} (dashed)")
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(COLOURS), frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def precision(name: str) -> str:
    """Return the precision that a row's name ends with, or nothing."""
    last = name.split()[-1]
    return last if last in PRECISIONS else ""


def side(name: str) -> str:
    """Return whose a row is, a key of `COLOURS`."""
    if name.startswith(PEERS):
        return "peers"
    return "limit or baseline" if name.startswith(("limit", "imports")) else "this package"


def machines_apart(results: dict, earlier: dict) -> list[str]:
    """The subjects whose earlier run was of another kind of machine, or does not say of which."""

    def kind(found):
        return [found["machine"].get(key) for key in ("processor", "instructions", "cores")]

    shared = [name for name in results if name in earlier]
    return [name for name in shared if kind(results[name]) != kind(earlier[name])]


def disagreements(results: dict, earlier: dict) -> tuple[int, list[str]]:
    """How many ratios two runs share, and those whose spreads do not touch."""
    ours, theirs = _ratios(results), _ratios(earlier)
    shared = [name for name in ours if name in theirs]
    apart = [
        f"{name}: {text(ours[name])}, earlier {text(theirs[name])}"
        for name in shared
        if ours[name][1] > theirs[name][2] or theirs[name][1] > ours[name][2]
    ]
    return len(shared), apart


def _ratios(results: dict) -> dict[str, list[float]]:
    found = {}
    for subject, part in results.items():
        for table in part["tables"]:
            for row in table["rows"]:
                if row["ratio"] and row["name"] != table["reference"]:
                    found[f"{subject}, {table['title']}, {row['name']}"] = row["ratio"]
        for claim in part["claims"]:
            found[f"{subject}, {claim['text']}"] = claim["value"]
    return found
