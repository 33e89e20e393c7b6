"""The table of docs/results.md from report.json files of several seeds: means, 95 % intervals, paired differences.

    python3 tools/results_table.py out/seed1/report.json out/seed2/report.json out/seed3/report.json
"""
import json
import statistics
import sys

T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}  # Student's t, by number of seeds


def told(values, digits=1):
    values = [100 * v for v in values]
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    half = T95[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def main():
    reports = [json.load(open(p)) for p in sys.argv[1:]]
    names = list(reports[0]["models"])
    tasks = list(reports[0]["models"][names[0]]["tasks"])

    def of(name, task, what):
        if task != "mean":
            return [r["models"][name]["tasks"][task][what] for r in reports]
        return [statistics.fmean(t[what] for t in r["models"][name]["tasks"].values()) for r in reports]

    print("| task | prior | " + " | ".join(f"{n} sighted | blind | restricted" for n in names) + " | difference |")
    print("|---" * (3 + 3 * len(names)) + "|")
    for task in tasks + ["mean"]:
        cells = [task, told(of(names[0], task, "prior"))]
        for n in names:
            cells += [told(of(n, task, w)) for w in ("sighted", "blind", "blind_restricted")]
        last, first = of(names[-1], task, "sighted"), of(names[0], task, "sighted")
        cells.append(told([b - a for a, b in zip(first, last)]))
        print("| " + " | ".join(cells) + " |")
    print()
    rows = {}
    for n in names:
        for r in reports:
            for key, value in r["models"][n].items():
                for sub, v in (value.items() if isinstance(value, dict) else [("", value)]):
                    if key != "tasks" and isinstance(v, (int, float)):
                        rows.setdefault(f"{key} {sub}".strip(), {}).setdefault(n, []).append(v)
    for key, of_model in rows.items():
        scale = 0.01 if key.endswith("seconds") else 1
        cells = [told([v * scale for v in of_model[n]]) if n in of_model else "–" for n in names]
        print("| " + " | ".join([key] + cells) + " |")


if __name__ == "__main__":
    main()
