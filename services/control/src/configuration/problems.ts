import { BrinkError } from '@brink/protocol';

/** One thing that is wrong in the configuration, and where. Lines and columns count from 1. */
export interface ConfigProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** `streams.front.pipelines.pets.priority`; empty for the whole file. */
  readonly path: string;
  readonly found: string;
  readonly expected: string;
  /** What a right line looks like. */
  readonly example?: string;
  /** `did you mean "priority"?` */
  readonly hint?: string;
  /** Not the words are wrong: the model that they name is not there. */
  readonly absent?: true;
}

export type ConfigPath = readonly (string | number)[];

/** One line for people, beginning as compilers do, so that editors jump to it. */
export function formatProblem(problem: ConfigProblem): string {
  const at = `${problem.file}:${problem.line}:${problem.column}`;
  const path = problem.path === '' ? '' : ` ${problem.path}:`;
  const hint = problem.hint === undefined ? '' : `; ${problem.hint}`;
  const example = problem.example === undefined ? '' : ` (example: ${problem.example})`;
  return `${at}:${path} found ${problem.found}; expected ${problem.expected}${hint}${example}`;
}

/** One error for all of them: a line each in `detail`, and as they are in `cause`. */
export function configError(problems: readonly ConfigProblem[]): BrinkError {
  return new BrinkError('E_CONFIG', problems.map(formatProblem).join('\n'), { cause: problems });
}

export function problemsIn(error: BrinkError): readonly ConfigProblem[] {
  return error.code === 'E_CONFIG' && Array.isArray(error.cause) ? (error.cause as ConfigProblem[]) : [];
}

/** `rules.night.then[0].command` */
export function formatPath(path: ConfigPath): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else text += text === '' ? part : `.${part}`;
  }
  return text;
}

/** A value as it is quoted in a message: short, on one line, control characters escaped by JSON. */
export function describeFound(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (typeof value === 'object') {
    const keys = Object.keys(value);
    return keys.length === 0 ? 'an empty mapping' : `a mapping with ${clip(keys.join(', '))}`;
  }
  return clip(JSON.stringify(value) ?? String(value));
}

/** The candidate that is nearest by edit distance, where it is near enough to be a typo of it. */
export function didYouMean(found: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(found.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(found.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best === undefined ? undefined : `did you mean "${best}"?`;
}

/** Optimal string alignment: insert, delete, replace, swap of neighbours. Both texts are names, hence short. */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 8) return Number.POSITIVE_INFINITY;
  const width = b.length + 1;
  const cells = new Array<number>((a.length + 1) * width).fill(0);
  const at = (i: number, j: number): number => cells[i * width + j] ?? 0;
  for (let i = 0; i <= a.length; i++) {
    for (let j = 0; j <= b.length; j++) {
      cells[i * width + j] = i === 0 || j === 0 ? i + j : cellOf(a, b, i, j, at);
    }
  }
  return at(a.length, b.length);
}

function cellOf(a: string, b: string, i: number, j: number, at: (i: number, j: number) => number): number {
  const replaced = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
  const least = Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, replaced);
  const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
  return swapped ? Math.min(least, at(i - 2, j - 2) + 1) : least;
}

const clip = (text: string) => (text.length > 80 ? `${text.slice(0, 80)}…` : text);
