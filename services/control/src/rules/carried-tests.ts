import type { PublishedConfiguration, RuleTestReport } from '@brink/protocol';
import { ruleContextOf, runRuleTests } from '@brink/rules';
import { mergeSources, type SourceFile } from '../configuration/sources.ts';

/** The tests that rules carry, each with the place where it stands. */
export function testsOf(
  published: PublishedConfiguration,
  names: readonly string[] | undefined,
  files: readonly SourceFile[] | undefined,
): RuleTestReport['tests'] {
  const { configuration, revision } = published;
  const all = Object.entries(configuration.rules);
  const rules = names === undefined ? all : all.filter(([name]) => names.includes(name));
  const merged = files === undefined ? undefined : mergeSources(files);
  return runRuleTests(Object.fromEntries(rules), ruleContextOf(configuration, revision)).map(
    ({ rule, test, index, ok, detail }) => {
      const given = merged !== undefined && Object.hasOwn((merged.value['rules'] ?? {}) as object, rule);
      const place = given ? merged.locate(['rules', rule, 'tests', index]) : undefined;
      return {
        ...{ rule, test, index, ok },
        ...(detail === undefined ? {} : { detail }),
        ...(place === undefined ? {} : { at: `${place.file}:${place.line}:${place.column}` }),
      };
    },
  );
}
