"""Golden values of Student's t and Holm's correction for tests/eval/statistics_test.c, by mpmath (which torch brings).

    python3 tools/golden_statistics.py

Writes tests/golden/statistics/statistics.json. Everything is computed from its definition at 40 digits: the density of t
integrated through the incomplete beta function, quantiles by a root search, Holm by sorting.
"""
import json
import os
import random

from mpmath import betainc, findroot, fsum, mp, mpf, sqrt

mp.dps = 40
OUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "golden", "statistics")


def tail(t, v):
    t = mpf(t)
    return betainc(mpf(v) / 2, mpf(1) / 2, 0, v / (v + t * t), regularized=True)


def quantile(level, v):
    near = {1: 12, 2: 4}.get(v, 2.5)
    return findroot(lambda t: 1 - tail(t, v) - mpf(level), near)


def interval(values):
    x = [mpf(v) for v in values]
    n, mean = len(x), fsum(x) / len(x)
    error = sqrt(fsum((v - mean) ** 2 for v in x) / (n - 1) / n)
    return {"values": values, "mean": float(mean), "half": float(quantile("0.95", n - 1) * error),
            "p": float(tail(mean / error, n - 1))}


def holm(p):
    order, out, last = sorted(range(len(p)), key=lambda i: p[i]), [0] * len(p), 0
    for rank, i in enumerate(order):
        last = max(last, min(1, p[i] * (len(p) - rank)))
        out[i] = last
    return {"p": p, "corrected": out}


def main():
    draw = random.Random(5)
    golden = {
        "tail": [[t, v, float(tail(t, v))] for v in (1, 2, 3, 4, 5, 9, 10, 30) for t in (0, 0.25, 1, 2.5, 7, 40)],
        "quantile": [[q, v, float(quantile(str(q), v))] for v in (1, 2, 3, 4, 7, 12, 29) for q in (0.9, 0.95, 0.99)],
        "interval": [interval([round(draw.gauss(m, s), 3) for _ in range(n)])
                     for n, m, s in ((2, 0, 1), (3, 60, 4), (3, -1, 1), (5, 2, 1), (10, 0.2, 3))],
        "holm": [holm([0.01, 0.04, 0.03, 0.005]), holm([0.5, 0.02, 0.02, 0.9, 0.001, 0.3]), holm([0.2])],
    }
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "statistics.json"), "w") as f:
        json.dump(golden, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
