import { ConfigurationSchema, type PublishedConfiguration } from '@brink/protocol';
import { type CheckRules, crossCheck, type ModelsOnDisk } from './crosschecks.ts';
import { problemsOf } from './issues.ts';
import type { ConfigProblem } from './problems.ts';
import { revisionOf } from './revision.ts';
import { mergeSources, type SourceFile } from './sources.ts';

export type Validation =
  | { readonly ok: true; readonly published: PublishedConfiguration }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/** Everything that is wrong with a set of files, at once, in the order of the files; or the configuration they make. */
export function validateConfiguration(
  files: readonly SourceFile[],
  models: ModelsOnDisk,
  checkRules: CheckRules,
): Validation {
  const merged = mergeSources(files);
  const problems = [...merged.problems];
  const parsed = ConfigurationSchema.safeParse({ ...merged.value });
  // A file that did not parse makes everything that refers to it look wrong.
  if (!merged.broken) {
    if (!parsed.success) problems.push(...problemsOf(parsed.error, ConfigurationSchema, merged));
    problems.push(...crossCheck(merged, models, checkRules));
  }
  if (problems.length > 0 || !parsed.success) return { ok: false, problems: firstOf(inOrder(problems, files)) };
  const configuration = parsed.data;
  return { ok: true, published: { revision: revisionOf(configuration), configuration } };
}

/** Nobody reads more, and a file can have a million. */
const PROBLEMS_MAX = 200;

function firstOf(problems: ConfigProblem[]): ConfigProblem[] {
  const [last] = problems.slice(PROBLEMS_MAX);
  if (last === undefined) return problems;
  const more = problems.length - PROBLEMS_MAX;
  const { file, line, column } = last;
  const rest = { file, line, column, path: '', found: `${more} more problems`, expected: 'none of them' };
  return [...problems.slice(0, PROBLEMS_MAX), rest];
}

function inOrder(problems: readonly ConfigProblem[], files: readonly SourceFile[]): ConfigProblem[] {
  const rank = new Map(files.map(({ name }, index) => [name, index]));
  return [...problems].sort(
    (a, b) => (rank.get(a.file) ?? 0) - (rank.get(b.file) ?? 0) || a.line - b.line || a.column - b.column,
  );
}
