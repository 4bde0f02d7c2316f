"""The table of device.sh: python3 table.py results.tsv. Reads the last run in the file; columns are those of report.h."""

import sys


def last_run(path):
    with open(path) as file:
        lines = [line.rstrip("\n").split("\t") for line in file]
    starts = [i for i, line in enumerate(lines) if line[0] == "run"]
    return lines[starts[-1] if starts else 0 :]


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def results(lines):
    """(shape, what) -> (value, unit, floor or None, spread, products), the last line of each."""
    table = {}
    for line in lines:
        if line[0] == "result" and len(line) >= 7:
            value = number(line[3])
            if value is not None:
                table[line[1], line[2]] = (value, line[4], number(line[5]), number(line[6]), line[7] if len(line) > 7 else "")
    return table


def print_results(table):
    print(f"\n{'shape':5} {'what':46} {'median':>10} {'unit':11} {'floor':>10} {'of floor':>8} {'spread':>7} products")
    for (shape, what), (value, unit, floor, spread, products) in table.items():
        share = ""
        if floor and value and "memory" not in what:
            share = f"{value / floor:.2f} x" if unit in ("s", "ms") else f"{floor / value:.2f} x"
        bound = f"{floor:.4g}" if floor else "-"
        print(f"{shape:5} {what:46} {value:10.4g} {unit:11} {bound:>10} {share:>8} {spread or 0:7.3f} {products}")


def print_ratios(table):
    """Ours over transformers + PEFT's, row by row of theirs."""
    for (shape, what), (theirs, unit, *_) in table.items():
        if "memory" in what or not what.startswith(("peft", "hooks")):
            continue
        words = what.split()
        names = [what.removeprefix("hooks, ") + how for how in (", shared", ", unshared")] if "sweep" in what else ["training " + " ".join(words[2:])]
        for name in names:
            ours = table.get((shape, name))
            if ours and theirs and ours[0]:
                ratio = theirs / ours[0] if unit == "s" else ours[0] / theirs
                print(f"{shape:5} {name:32} against {what:32} {ratio:8.2f} x")


def print_times(lines):
    times = [line for line in lines if line[0] == "time" and len(line) >= 6]
    for shape, work in dict.fromkeys((t[1], t[2]) for t in times):
        print(f"\n{shape} {work}: device milliseconds by op (an op holds the time of what it calls)")
        own = [t for t in times if (t[1], t[2]) == (shape, work)]
        for t in sorted(own, key=lambda t: -(number(t[4]) or 0)):
            print(f"  {t[3]:28} {number(t[4]) or 0:9.3f} ms {t[5]:>6} calls")


def main():
    lines = last_run(sys.argv[1])
    for line in lines:
        if line[0] in ("run", "found"):
            print(": ".join(part for part in line if part))
    for line in lines:
        if line[0] == "check":
            _, phase, name, passed, failed, status, how = line
            print(f"{phase} {name + (', blocking' if how == 'blocking' else ''):48} {passed:>5} passed {failed:>3} failed" + ("" if status == "0" else f"   status {status}"))
    for line in lines:
        if line[0] in ("skipped", "cut", "failed"):
            print(f"{line[0]}: {': '.join(line[1:])}")
    table = results(lines)
    if table:
        print_results(table)
        print_ratios(table)
    print_times(lines)


main()
