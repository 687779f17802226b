import type { PublishedConfiguration } from '@brink/protocol';
import { compileProblems } from '@brink/rules';
import type { ModelsOnDisk } from '../configuration/crosschecks.ts';
import { mergeSources, type SourceFile } from '../configuration/sources.ts';
import { type Validation, validateConfiguration } from '../configuration/validate.ts';

/** Where the place of the configuration is that the files are laid over, in messages. */
const ACTIVE = '(active configuration)';

/**
 * The configuration that files would make, whether the tests of its rules hold or not. Files with nothing but rules are laid over
 * `active`: a rule of the same name is replaced, the others stay. Anything else is a whole configuration.
 */
export function candidateOf(
  files: readonly SourceFile[],
  active: PublishedConfiguration | undefined,
  models: ModelsOnDisk,
): Validation {
  const { value, broken } = mergeSources(files);
  const onlyRules = !broken && Object.keys(value).every((top) => top === 'rules' || top === 'version');
  if (active === undefined || !onlyRules) return validateConfiguration(files, models, compileProblems);
  const given = Object.keys((value['rules'] ?? {}) as Record<string, unknown>);
  const { rules, ...rest } = active.configuration;
  const staying = Object.fromEntries(Object.entries(rules).filter(([name]) => !given.includes(name)));
  // JSON is YAML; nobody edits this text.
  const ground = { name: ACTIVE, text: JSON.stringify({ ...rest, rules: staying }) };
  return validateConfiguration([...files, ground], models, compileProblems);
}
