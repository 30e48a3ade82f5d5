"""The plot of docs/performance.md: what `dumps` of a tree costs, over its size, on log-log axes.

Needs matplotlib (``pip install 'weakreduce[benchmark]'``); nothing else here does.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402 - the backend is chosen first


def draw(series: dict[str, list[list[float]]], path: Path) -> None:
    """Write the plot of pairs (size, seconds), one line for each label."""
    pyplot.rcParams["svg.hashsalt"] = "weakreduce"  # the same figures give the same file
    figure, axes = pyplot.subplots(figsize=(8, 5.2))
    for (label, points), marker in zip(series.items(), "osvD^P*X", strict=False):
        ours = label.startswith("weakreduce")
        sizes, seconds = zip(*points, strict=True)
        axes.loglog(
            sizes, seconds, marker=marker, markersize=5, label=label,
            linewidth=2.4 if ours else 1.3, linestyle="-" if ours else "--",
        )  # fmt: skip
    axes.set_xlabel("nodes of the tree")
    axes.set_ylabel("seconds for dumps")
    axes.grid(True, which="major", alpha=0.4)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
