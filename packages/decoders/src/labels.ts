/** The names of classes, and what they are called in other languages. */
export interface Labels {
  readonly names: readonly string[];
  /** by language code, one text per name */
  readonly texts: Readonly<Record<string, readonly string[]>>;
}

/** One label per line, in the order of the model's outputs. A trailing newline and a byte order mark are not labels. */
export function parseLabels(text: string): string[] {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  while (lines.at(-1)?.trim() === '') lines.pop();
  return lines.map((line) => line.trim());
}
