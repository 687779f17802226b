import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

interface PassportProblem {
  readonly path: readonly PropertyKey[];
  /** what was expected, or what is wrong */
  readonly message: string;
}

/**
 * What is wrong with a passport, each where it stands. Where several forms are possible (an input is a picture, sound, …), the problem
 * is that of the form that was meant: the one that has the keys that are there.
 */
export function passportProblems(error: z.core.$ZodError): PassportProblem[] {
  return error.issues.flatMap((issue) => flatten(issue, []));
}

function flatten(issue: Issue, under: readonly PropertyKey[]): PassportProblem[] {
  const path = [...under, ...issue.path];
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [{ path, message: issue.message }];
  const misfits = issue.errors.map((branch) => branch.filter(isOfAnotherForm).length);
  const least = Math.min(...misfits);
  const [meant, ...others] = issue.errors.filter((_, at) => misfits[at] === least);
  if (meant !== undefined && others.length === 0) return meant.flatMap((inner) => flatten(inner, path));
  const keys = issue.errors.flatMap((branch) => branch.find(({ path: of }) => of.length === 1)?.path ?? []);
  const words = issue.errors.flatMap((branch) => branch.map((inner) => inner.message));
  const message =
    keys.length > 0 ? `expected one of ${unique(keys.map(String)).join(', ')}` : unique(words).join(' or ');
  return [{ path, message }];
}

/** A key that it does not have, or one that it needs and that is not there. */
function isOfAnotherForm(issue: Issue): boolean {
  if (issue.code === 'unrecognized_keys') return issue.path.length === 0;
  return issue.path.length === 1 && (issue.code === 'invalid_union' || /undefined/.test(issue.message));
}

const unique = (texts: readonly string[]) => [...new Set(texts)].slice(0, 8);
