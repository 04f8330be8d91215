"""The plots of docs/performance.md: at a phone's width, for light and dark, with one colour for each peer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

import peers
from measures import fleet, growth

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "performance"
SIZES = sorted({*growth.SIZES, *fleet.REPLICAS})
WIDTH = 3.75  # inches; at 96 pixels an inch that is a phone's column, so 9 points are read there as 12 pixels
SCHEMES = {"light": ("", "#1f2328"), "dark": ("-dark", "#d7dae0")}
# Each colour has a contrast of 3 or more to both backgrounds; the mark tells peers apart without colour.
LOOKS = {
    "enkash": ("#2f6fed", "o"),
    "by_hand_attribute": ("#7a7f87", "x"),
    "by_hand_lock": ("#b08968", "+"),
    "httpx_auth": ("#e5383b", "s"),
    "authlib": ("#e07a00", "^"),
    "requests_oauthlib": ("#7c9a00", "v"),
    "msal": ("#009e83", "D"),
    "azure_core": ("#0096c7", "<"),
    "google_auth": ("#2e9e3f", ">"),
    "google_auth_background": ("#7d5fe6", "p"),
    "botocore": ("#a8613a", "*"),
    "anthropic": ("#d63fb3", "h"),
}
Found = dict[str, dict[str, dict[str, Any]]]

# title of a panel, measure, key
ANSWER = [
    ("requests,\n200 threads\nat an expiry", "stampede", "threads_expiry_requests"),
    ("requests,\n20 processes\nthat start", "fleet", "file_20_requests"),
    ("wrong\npasswords,\n20 threads", "wrong_password", "threads"),
]
# name, across, up, caption, and for each line of a peer: measure, key, style, suffix of its name
GROWTH = [
    (
        "callers",
        "callers on one event loop",
        "wait of the last ÷ tasks on an Event",
        "How much longer the last of many tasks waits for one sign-in than as many tasks wait for an `asyncio.Event`. "
        "Lower is better; 1 is free.",
        [("growth", "callers_{}", "-", "")],
    ),
    (
        "tenants",
        "tenants in one process",
        "ms a tenant",
        "What a further tenant costs: making its provider and signing in once. Lower is better.",
        [("growth", "tenants_{}_ms", "-", "")],
    ),
    (
        "memory",
        "tenants in one process",
        "kB a tenant",
        "The resident memory of a further tenant. Lower is better.",
        [("growth", "tenants_{}_kb", "-", "")],
    ),
    (
        "replicas",
        "processes on one cache",
        "token requests",
        "Token requests of processes that start together with one shared cache, for the packages that have one. "
        "Lower is better.",
        [("fleet", "file_{}_requests", "-", ""), ("fleet", "valkey_{}_requests", ":", ", Valkey")],
    ),
]


def title(peer: str) -> str:
    """Return a peer's name, on two lines if it is long."""
    return str(peers.load(peer).TITLE).strip("*").replace(", ", ",\n").replace(": ", ":\n")


def _save(figure: Any, name: str) -> None:
    path = FOLDER / f"{name}.svg"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, transparent=True)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    plt.close(figure)


def _shown(name: str, alt: str, caption: str) -> list[str]:
    """Return the Markdown of a figure; site and forge show the version of their scheme."""
    shown = [
        f"![{alt}](performance/{name}{suffix}.svg#gh-{scheme}-mode-only)" for scheme, (suffix, _) in SCHEMES.items()
    ]
    return ["<figure markdown>", "", *shown, "", f"<figcaption markdown>{caption}</figcaption>", "", "</figure>", ""]


def _style(text: str) -> None:
    mpl.rcParams |= {"svg.hashsalt": "enkash-auth", "svg.fonttype": "none", "font.size": 9}
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    mpl.rcParams |= dict.fromkeys(names, text)


def answer(found: Found) -> list[str]:
    """Draw what each peer sends to the server; return the lines that show it."""
    names = [name for name in peers.NAMES if all(name in found.get(measure, {}) for _, measure, _ in ANSWER)]
    for suffix, text in SCHEMES.values():
        _style(text)
        figure, panels = plt.subplots(1, len(ANSWER), figsize=(WIDTH, 4.6), sharey=True, layout="constrained")
        for axes, (head, measure, key) in zip(panels, ANSWER, strict=True):
            counts = [found[measure][name].get(key, 0) for name in names]
            bars = axes.barh(range(len(names)), counts, color=[LOOKS[name][0] for name in names])
            axes.bar_label(bars, padding=2, fontsize=8.5)
            axes.set_title(head, fontsize=8)
            axes.set(xlim=(0, max(counts) * 1.7), xticks=[], ylim=(len(names) - 0.4, -0.6))
            axes.tick_params(length=0)
            axes.spines[["top", "right", "bottom"]].set_visible(False)
        panels[0].set_yticks(range(len(names)), list(map(title, names)))
        panels[0].tick_params(labelsize=8.5)
        panels[0].get_yticklabels()[0].set_fontweight("bold")
        _save(figure, f"answer{suffix}")
    alt = "Bars: token requests and wrong passwords that reach the server, for each package"
    return _shown(
        "answer",
        alt,
        "What reaches the server. Fewer is better; the vendor locks an account after three wrong passwords.",
    )


def growing(found: Found) -> list[str]:
    """Draw how cost grows with work; return the lines that show it."""
    lines = []
    for name, across, up, caption, drawn in GROWTH:
        for suffix, text in SCHEMES.values():
            _style(text)
            figure, axes = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
            axes.set(xscale="log", yscale="log", xlabel=across, ylabel=up)
            for measure, key, style, more in drawn:
                for peer in peers.NAMES:
                    numbers = found.get(measure, {}).get(peer, {})
                    sizes = [size for size in SIZES if numbers.get(key.format(size), 0) > 0]  # no 0 on such a scale
                    if len(sizes) < 2:
                        continue
                    points = [numbers[key.format(size)] for size in sizes]
                    color, mark = LOOKS[peer]
                    width = 2.5 if peer == "enkash" else 1.2
                    label = title(peer) + more
                    axes.plot(
                        sizes, points, style, color=color, marker=mark, markersize=5, linewidth=width, label=label
                    )
            axes.grid(alpha=0.25)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(lambda value, _: f"{value:,g}")
                axis.set_minor_formatter(mpl.ticker.LogFormatter(minor_thresholds=(1, 0.4)))
            figure.legend(
                fontsize=8, ncols=2, frameon=False, loc="outside lower center",
                columnspacing=0.8, handlelength=1.6, handletextpad=0.5,
            )  # fmt: skip
            _save(figure, f"{name}{suffix}")
        lines += _shown(name, f"Lines: {up}, by {across}", caption)
    return lines
