"""The table, the JSON file and the chart of a run."""

import json
from pathlib import Path

from peers import PEERS
from rounds import ADAM


def best(result, at_once=True):
    """The fastest peer, without fastbp; at_once=False: among those that come back to Python after each step."""
    entries = {
        name: entry
        for name, entry in result["times"].items()
        if name not in ("fastbp", ADAM) and (at_once or not PEERS[name][1])
    }
    return min(entries, key=lambda name: entries[name]["ratio"]) if entries else None


def print_result(result):
    unit, scale = ("s", 1) if result["kind"] == "epoch" else ("us", 1e6)
    print(f"\n{result['name']}: {result['rounds']} rounds x {result['steps']} steps")
    print(f"  {'':20}{unit:>12}{'ratio':>9}{'quartiles':>18}")
    for name, entry in result["times"].items():
        low, high = entry["quartiles"]
        time = f"{entry['seconds'] * scale:,.{1 if scale > 1 else 4}f}"
        print(f"  {name:20}{time:>12}{entry['ratio']:9.2f}{f'{low:.2f} .. {high:.2f}':>18}")
    for name in result["left_out"]:
        print(f"  {name:20}{'left out: no C++ compiler':>39}")
    one_by_one, whole = result["best_step_by_step"], result["best"]
    for words, name in (("step by step", one_by_one), ("of all", whole)):
        if name:
            print(f"  best peer {words}: {name}, fastbp is {result['times'][name]['ratio']:.2f} times as fast")
    if ADAM in result["times"]:
        print(f"  Adam takes {100 * (result['times'][ADAM]['ratio'] - 1):.1f} % more than SGD")
    limits = ", ".join(f"{fraction:.0%} of {count} thread(s)" for count, fraction in result["of_ceiling"].items())
    speeds = ", ".join(f"{speed:.0f}" for speed in result["ceiling"].values())
    print(f"  fastbp {result['gflops']:.1f} GFLOP/s: of the sgemm ceiling {limits} ({speeds} GFLOP/s)", flush=True)


def print_summary(results):
    print(f"\n{'':44}{'fastbp':>12}{'step by step':>14}{'of all':>9}{'ceiling':>9}")
    for result in results:
        ratios = [result["times"][name]["ratio"] if name else float("nan") for name in
                  (result["best_step_by_step"], result["best"])]  # fmt: skip
        fraction = list(result["of_ceiling"].values())[-1]
        seconds = result["times"]["fastbp"]["seconds"]
        time = f"{seconds:.3f} s" if result["kind"] == "epoch" else f"{seconds * 1e6:,.1f} us"
        print(f"{result['name']:44}{time:>12}{ratios[0]:14.2f}{ratios[1]:9.2f}{fraction:9.0%}")


def write_json(path, facts, results):
    Path(path).write_text(json.dumps({"environment": facts, "results": results}, indent=2) + "\n")


def draw(path, facts, results):
    """Time beside fastbp's, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for result in results for name in result["times"]))
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 1.1 * len(results)), layout="constrained")
    for k, name in enumerate(names):
        found = [(i, result["times"][name]["ratio"]) for i, result in enumerate(results) if name in result["times"]]
        places = [i + (k - (len(names) - 1) / 2) * 0.8 / len(names) for i, _ in found]
        axes.barh(places, [ratio for _, ratio in found], 0.8 / len(names), label=name)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(results)), [result["name"] for result in results])
    axes.invert_yaxis()
    axes.set_xlabel("time beside fastbp's (median of paired rounds)")
    axes.set_title(f"{facts['cpu']}, {facts['threads']} thread(s), {facts['date'][:10]}", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
