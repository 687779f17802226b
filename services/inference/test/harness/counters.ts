/** Every counter of a /metrics page: its series → its value. */
function countersOf(page: string): ReadonlyMap<string, number> {
  const kinds = new Set(Array.from(page.matchAll(/^# TYPE (\S+) counter$/gm), ([, name]) => name));
  const counters = new Map<string, number>();
  for (const [, series, name, value] of page.matchAll(/^((\w+)(?:\{.*\})?) (\S+)$/gm)) {
    if (series !== undefined && kinds.has(name)) counters.set(series, Number(value));
  }
  return counters;
}

/** Series whose value grew, that contain all of these. */
export function moved(before: string, after: string, ...labels: readonly string[]): string[] {
  const old = countersOf(before);
  return [...countersOf(after)]
    .filter(([series, value]) => value > (old.get(series) ?? 0) && labels.every((label) => series.includes(label)))
    .map(([series]) => series);
}
