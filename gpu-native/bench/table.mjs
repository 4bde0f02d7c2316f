/** Medians, spreads and a plain text table. */

function sorted(values) {
  return [...values].sort((a, b) => a - b);
}

export function median(values) {
  const v = sorted(values);
  const half = Math.floor(v.length / 2);
  return v.length % 2 ? v[half] : (v[half - 1] + v[half]) / 2;
}

/** Distance between the first and third quartile over the median. */
export function spread(values) {
  const v = sorted(values);
  return (v[Math.floor((v.length * 3) / 4)] - v[Math.floor(v.length / 4)]) / median(v);
}

export function printTable(head, rows) {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  const line = (row) =>
    row
      .map((cell, i) => (/^[-\d.]/.test(cell) ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join("  ")
      .trimEnd();
  console.log();
  console.log(line(cells[0]));
  console.log(widths.map((w) => "-".repeat(w)).join("  "));
  for (const row of cells.slice(1)) console.log(line(row));
  console.log();
}
