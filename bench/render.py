"""The page: Markdown from a document of run.py, ratios first. Pure: the same document gives the same page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.numbers import number, short
from bench.plots import label, metric_of
from bench.stats import Spread, Verdict, alike, ratios, rivals, series, spread, subject, values, verdict, worse

Document = dict[str, Any]
Scenario = dict[str, Any]


def page(document: Document, figures: Mapping[str, str] | None = None) -> str:
    """The whole page. figures: sweep → the file of its figure."""
    parts = [
        _head(document),
        _goals(document),
        *(_sweep(document, sweep, (figures or {}).get(sweep["name"])) for sweep in document.get("sweeps", [])),
        _worse(document),
        *(_scenario(document, part) for part in document["scenarios"] if not part.get("sweep")),
    ]
    parts += [_micro(document), _machine(document), _how(document), _configurations(document)]
    return "\n\n".join(part for part in parts if part) + "\n"


def goals_text(document: Document) -> str:
    """The verdicts as plain lines, for a terminal."""
    lines = []
    for _, goal, found in _verdicts(document):
        lines.append(f"{found.state.upper():13} {goal['text']}: {_plain(_measured(goal, found))}, reach {_reach(goal)}")
    return "\n".join(lines)


# --- numbers ------------------------------------------------------------------------------------------------


def _range(found: Spread, unit: str = "") -> str:
    """**median** unit (low..high)."""
    text = number(found.median) + (f" {unit}" if unit else "")
    return f"**{text}** ({number(found.low)}..{number(found.high)})" if found.count > 1 else f"**{text}**"


def _ratio(found: Spread) -> str:
    return f"**{found.median:.2f}** ({found.low:.2f}..{found.high:.2f})" if found.count > 1 else f"**{found.median:.2f}**"


def _plain(text: str) -> str:
    return text.replace("**", "").replace("<br>", " ")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


# --- goals --------------------------------------------------------------------------------------------------


def _verdicts(document: Document) -> list[tuple[Scenario, dict[str, Any], Verdict]]:
    return [(part, goal, verdict(part, goal)) for part in document["scenarios"] for goal in part["goals"]]


def _metric(scenario: Scenario, key: str) -> dict[str, Any]:
    return next(metric for metric in scenario["metrics"] if metric["key"] == key)


def _reach(goal: dict[str, Any], better: str = "") -> str:
    sign = {"lower": "≤ ", "higher": "≥ "}.get(better, "")
    return f"{sign}{goal['limit']:.2f}" if goal["rivals"] else f"{sign}{number(goal['limit'])}"


def _measured(goal: dict[str, Any], found: Verdict) -> str:
    if found.spread is None:
        return "not measured"
    return _ratio(found.spread) if goal["rivals"] else _range(found.spread)


def _against(document: Document, goal: dict[str, Any]) -> str:
    if not goal["rivals"]:
        return "absolute"
    titles = [document["targets"].get(name, {}).get("title", name) for name in goal["rivals"]]
    return "better of " + ", ".join(titles)


def _goals(document: Document) -> str:
    rows = []
    for part, goal, found in _verdicts(document):
        rounds = f"{found.rounds_met} of {found.spread.count}" if found.spread else "-"
        state = {"met": "✓ met", "missed": "✗ missed", "not measured": "not measured"}[found.state]
        against = _against(document, goal) + (f" ({found.note})" if found.note else "")
        reach = _reach(goal, _metric(part, goal["metric"])["better"])
        figures = [_alike(document, part, goal), _medians(document, part, goal["metric"])]
        rows.append([goal["text"], _measured(goal, found), reach, state, rounds, against, *figures])
    if not rows:
        return ""
    head = ["lbcore", "measured", "reach", "", "rounds that met it", "against", "each rival, read alike", "medians"]
    return (
        "## At a glance\n\n"
        + _table(head, rows)
        + "\n\nRatios: lbcore over the better rival of the same round; their median, and least..greatest."
        " Which rival that is, is known only after the round: where rounds scatter, as tails do, of equals each comes out"
        " worse than 1. So beside it stands what each rival comes to over the best of lbcore and the others, read alike."
    )


def _alike(document: Document, scenario: Scenario, goal: dict[str, Any]) -> str:
    """Of goals with several rivals that were measured: the median of each, in one cell."""
    samples, key = scenario["samples"], goal["metric"]
    ours = goal.get("target") or subject(_names(scenario))
    present = [name for name in goal["rivals"] if values(samples, name, key)]
    if len(present) < 2 or not values(samples, ours, key):
        return "-"
    found = alike(samples, key, _metric(scenario, key)["better"], present, ours)
    return ", ".join(f"{_title(document, name)} {one.median:.2f}" for name, one in found.items())


def _medians(document: Document, scenario: Scenario, key: str) -> str:
    """The medians of all balancers in one cell."""
    unit = _metric(scenario, key)["unit"]
    shown = []
    for name in _names(scenario):
        found = spread(list(values(scenario["samples"], name, key).values()))
        if found:
            shown.append(f"{_title(document, name)} {number(found.median)}")
    return ", ".join(shown) + (f" {unit}" if unit and shown else "")


# --- sweeps -------------------------------------------------------------------------------------------------


def _sweep(document: Document, sweep: dict[str, Any], figure: str | None) -> str:
    parts = [part for part in document["scenarios"] if part.get("sweep") == sweep["name"]]
    notes = [
        f"- {_title(document, n)}: skipped, {why}" for n, why in {k: v for p in parts for k, v in p["skipped"].items()}.items()
    ]
    notes += [
        f"- {part['title']}, {_title(document, s['target'])}, round {s['round']}: **failed**, {s['error']}"
        for part in parts
        for s in _failed(part)
    ]
    shown = [
        f"## {sweep['title']}",
        f"{sweep['what'][0].upper()}{sweep['what'][1:]}.",
        f"![{sweep['title']}]({figure})" if figure else "",
        f"*{seen(document, sweep)}*",
        _sweep_ratios(document, sweep, parts),
        "\n".join(notes),
    ]
    return "\n\n".join(part for part in shown if part)


def seen(document: Document, sweep: dict[str, Any]) -> str:
    """One sentence: by which factor the first panel's metric changes for each, mode by mode."""
    metric = sweep["panels"][0][1]
    said, ends = [], set()
    for mode in dict.fromkeys(mode for mode, key in sweep["panels"] if key == metric):
        lines = series(document, sweep["name"], mode, metric)
        grown = {name: growth(points) for name, points in lines.items() if name != "direct" and len(points) > 1}
        if grown:
            ends |= {at for points in lines.values() for at, _ in points}
            title = metric_of(document, sweep["name"], mode, metric)["title"]
            each = ", ".join(f"{label(document, name)} {factor:.2f}" for name, factor in grown.items())
            said.append(f"{title} ({mode}): {each}")
    if not said:
        return "Too few points to see anything."
    span = f"From {short(min(ends))} to {sweep['words'].format(short(max(ends)))}"
    return f"{span} this changes by a factor of: {'; '.join(said)}."


def growth(points: list[tuple[int, Spread]]) -> float:
    """The last median over the first."""
    return points[-1][1].median / points[0][1].median


def _sweep_ratios(document: Document, sweep: dict[str, Any], parts: list[Scenario]) -> str:
    """lbcore over the best rival of each round, point by point."""
    columns = parts[0]["metrics"]
    rows = []
    for part in parts:
        names = _names(part)
        others = rivals(names)
        cells = [spread(ratios(part["samples"], m["key"], m["better"], others, subject(names))) for m in columns]
        if any(cells):
            rows.append([part["title"], *(_ratio(cell) if cell else "-" for cell in cells)])
    titles = [metric["title"].partition(" per ")[0] for metric in columns]
    return _table(["lbcore ÷ the best rival", *titles], rows) if rows else ""


# --- where lbcore is not the best ---------------------------------------------------------------------------


def _worse(document: Document) -> str:
    found = worse(document)
    if not any(rivals(_names(part)) for part in document["scenarios"]):
        return ""
    lines = [
        f"- {_ratio(one.factor)} {one.metric}: {one.scenario}; best: {_title(document, one.rival)};"
        f" worse in {one.rounds} of {one.factor.count} rounds"
        for one in found
    ]
    return (
        "## Where lbcore is not the best\n\n"
        "Every figure of this run whose median ratio to the best rival of the same round is worse than 1, the worst first;"
        " above 1 is worse, also where more is better.\n\n" + ("\n".join(lines) or "None in this run.")
    )


# --- scenarios ----------------------------------------------------------------------------------------------


def _scenario(document: Document, scenario: Scenario) -> str:
    names = _names(scenario)
    columns = [metric for metric in scenario["metrics"] if any(values(scenario["samples"], n, metric["key"]) for n in names)]
    head = ["", *(metric["title"] + (f", {metric['unit']}" if metric["unit"] else "") for metric in columns)]
    rows = [_row(document, scenario, name, columns) for name in names]
    compared = _compared(document, scenario, columns)
    notes = [f"- {_title(document, name)}: skipped, {why}" for name, why in scenario["skipped"].items()]
    notes += [f"- {_title(document, s['target'])}, round {s['round']}: **failed**, {s['error']}" for s in _failed(scenario)]
    parts = [f"## {scenario['title']}", f"{scenario['what'][0].upper()}{scenario['what'][1:]}.", compared]
    parts += [_table(head, rows) if rows else "", "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


def _names(scenario: Scenario) -> list[str]:
    """Targets in the order in which they ran."""
    return list(dict.fromkeys(sample["target"] for sample in scenario["samples"]))


def _failed(scenario: Scenario) -> list[dict[str, Any]]:
    return [sample for sample in scenario["samples"] if not sample["ok"]]


def _title(document: Document, name: str) -> str:
    return str(document["targets"].get(name, {}).get("title", name))


def _row(document: Document, scenario: Scenario, name: str, columns: list[dict[str, Any]]) -> list[str]:
    cells = [_title(document, name)]
    failed = sum(sample["target"] == name for sample in _failed(scenario))
    if failed:
        cells[0] += f" (**{failed} failed**)"
    for metric in columns:
        found = spread(list(values(scenario["samples"], name, metric["key"]).values()))
        cells.append(_range(found) if found else "-")
    return cells


def _compared(document: Document, scenario: Scenario, columns: list[dict[str, Any]]) -> str:
    """One line a metric: lbcore over each rival, round by round."""
    names = _names(scenario)
    others = rivals(names)
    ours = subject(names)
    if ours not in names or not others:
        return ""
    head = ["lbcore ÷ …", *(metric["title"] for metric in columns)]
    rows = []
    for name in others:
        found = [spread(ratios(scenario["samples"], m["key"], m["better"], [name], ours)) for m in columns]
        if any(found):
            rows.append([_title(document, name), *(_ratio(one) if one else "-" for one in found)])
    return _table(head, rows) if rows else ""


# --- micro --------------------------------------------------------------------------------------------------


def _micro(document: Document) -> str:
    micro = document.get("micro")
    if micro is None:
        return ""
    rows = [[row["name"], _time(row), _limit(row)] for row in micro["rows"]]
    parts = ["## Single operations", f"pytest-benchmark: `{micro['command']}`; median and quartiles."]
    parts += [_table(["operation", "time", "reach"], rows) if rows else ""]
    parts += ["" if micro["ok"] else f"**Failed**: {micro['error']}"]
    return "\n\n".join(part for part in parts if part)


def _time(row: dict[str, Any]) -> str:
    scale, unit = (1, "ns") if row["median_ns"] < 1e3 else (1e3, "µs") if row["median_ns"] < 1e6 else (1e6, "ms")
    middle, low, high = (number(row[f"{key}_ns"] / scale) for key in ("median", "q1", "q3"))
    return f"**{middle}** {unit} ({low}..{high})"


def _limit(row: dict[str, Any]) -> str:
    if "limit_ns" not in row:
        return ""
    state = "✓ met" if row["median_ns"] <= row["limit_ns"] else "✗ missed"
    return f"≤ {number(row['limit_ns'] / 1e3)} µs: {state}"


# --- where and how ------------------------------------------------------------------------------------------


def _head(document: Document) -> str:
    options, commit, machine = document["options"], document["commit"], document["machine"]
    lines = ["<!-- Generated by `python -m bench`; do not edit. -->", f"# lbcore beside {_products(document)}", ""]
    lines.append(
        f"{document['started'][:10]}, commit `{commit['sha'][:12] or 'unknown'}`"
        + (f" with changes in {', '.join(commit['changed'][:5])}" if commit["changed"] else "")
        + f", {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}."
        f" {options['rounds']} rounds of {options['seconds']:g} s, every balancer with one worker where nothing else is said,"
        " each sample with a freshly started one. Bold: median; in brackets: least and greatest."
    )
    if options["quick"]:
        lines += ["", "**A quick run: short samples, so read no more than the rough picture from it.**"]
    return "\n".join(lines)


def _products(document: Document) -> str:
    """The rivals that took part, as words."""
    ran = [name for part in document["scenarios"] for name in rivals(_names(part))]
    titles = list(dict.fromkeys(label(document, name).partition(",")[0] for name in ran))
    return " and ".join([", ".join(titles[:-1]), titles[-1]] if len(titles) > 1 else titles) or "no rival"


def _machine(document: Document) -> str:
    facts, found = document["machine"], document["versions"]
    usages = [s["usage"] for part in document["scenarios"] for s in part["samples"] if s["ok"]]
    lines = [
        f"- {facts['cpu']}, {facts['cores']} cores{' (virtual machine)' if facts['virtual'] else ''},"
        f" {facts['memory_mb'] / 1024:.0f} GiB, {facts['system']}, Linux {facts['kernel']}",
        *(f"- {name}: {text}" for name, text in sorted(found.items())),
        "- Nothing is pinned to a core; load, origin and balancer share all of them.",
    ]
    if usages:
        foreign, steal = (spread([usage[key] * 100 for usage in usages]) for key in ("foreign", "steal"))
        assert foreign is not None
        assert steal is not None
        lines.append(
            f"- CPU that went to others: median {foreign.median:.1f} %, at most {foreign.high:.1f} %;"
            f" stolen by the host: median {steal.median:.1f} %, at most {steal.high:.1f} %."
            f" {sum(map(_disturbed, usages))} of {len(usages)} samples lost over a tenth of it to them."
        )
    return "## Machine and versions\n\n" + "\n".join(lines)


def _disturbed(usage: dict[str, Any]) -> bool:
    return bool(usage["foreign"] + usage["steal"] > 0.1)


def _how(document: Document) -> str:
    shown: list[str] = []
    swept: list[str] = []
    for part in document["scenarios"]:
        command = next((s["load"]["command"] for s in part["samples"] if s["ok"]), None)
        if command:
            (swept if part.get("sweep") else shown).append(f"- {part['title']}: `{command}`")
    if swept:
        shown += ["", "<details><summary>The loads of the sweeps</summary>\n", *swept, "\n</details>"]
    return (
        "## How\n\n"
        f"`{document['command']}` took {document['seconds']:.0f} s."
        " Every sample is in [latest.json](latest.json).\n\n"
        "- Targets take turns (A B C D, A B C D, …), so that a slow minute of the machine hits all of them.\n"
        "- Worker CPU: `/proc/PID/task/*/schedstat` of the processes that carry data, over the whole load.\n"
        "- Machine CPU: all of `/proc/stat` that is neither idle nor stolen, load and origin included.\n"
        "- Memory: private pages (`smaps_rollup`) of the processes that carry data.\n" + "\n".join(shown)
    )


def _configurations(document: Document) -> str:
    blocks = []
    for name, target in document["targets"].items():
        if target.get("command"):
            config = "\n".join(line for line in target["config"].splitlines() if line.strip())
            blocks.append(f"**{_title(document, name)}**\n\n```\n{target['command']}\n\n{config}\n```")
    if not blocks:
        return ""
    return "<details><summary>Command lines and configurations</summary>\n\n" + "\n\n".join(blocks) + "\n\n</details>"
