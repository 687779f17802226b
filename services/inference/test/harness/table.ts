/** One thing that was asked of a model. */
export interface Row {
  readonly model: string;
  readonly asked: string;
  readonly expected: string;
  readonly got: string;
  readonly ms: number;
}

/** For people: columns as wide as they need to be. */
export function tableOf(rows: readonly Row[]): string {
  const cells = [
    ['model', 'asked', 'expected', 'got', 'ms'],
    ...rows.map(({ model, asked, expected, got, ms }) => [model, asked, expected, got, ms.toFixed(1)]),
  ];
  const widths = cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  const line = (row: readonly string[]) => `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`;
  const [head = [], ...body] = cells;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...body.map(line)].join('\n');
}
