import {
  type Backtest,
  BrinkError,
  type PublishedConfiguration,
  type RuleTestReport,
  type RuleTestRequest,
} from '@brink/protocol';
import { ruleContextOf, runRuleTests } from '@brink/rules';
import type { Clock } from '@brink/runtime';
import type { ConfigurationKeeper } from '../configuration/active.ts';
import type { ModelsOnDisk } from '../configuration/crosschecks.ts';
import { configError } from '../configuration/problems.ts';
import { mergeSources, type SourceFile } from '../configuration/sources.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { BacktestOrder } from './backtest.ts';
import type { Backtests } from './backtests.ts';
import { candidateOf } from './candidate.ts';

export interface TestingDeps {
  readonly ledger: Pick<Ledger, 'read'>;
  readonly configuration: Pick<ConfigurationKeeper, 'active'>;
  /** With what their passports say. */
  readonly models: () => Promise<ModelsOnDisk>;
  readonly backtests: Backtests;
  readonly clock: Clock;
}

export interface PreparedTest {
  readonly tests: RuleTestReport['tests'];
  /** Runs the backtest that was asked for; undefined: none was. */
  readonly backtest: ((signal: AbortSignal) => Promise<Backtest>) | undefined;
}

/** Rules that are tried before they are at work: on the tests that they carry, and on what is stored. */
export function createTestingGround(d: TestingDeps) {
  async function baseline(revision: string | undefined): Promise<PublishedConfiguration> {
    const { active } = d.configuration;
    if (revision === undefined || revision === active.revision) return active;
    const found = await d.ledger.read.configuration(revision);
    if (found === undefined) throw new BrinkError('E_NOT_FOUND', `there is no revision ${revision}`);
    return found;
  }

  function order(request: RuleTestRequest, before: PublishedConfiguration, after: PublishedConfiguration) {
    const nowMs = d.clock.now();
    const sinceMs = Date.parse(request.since ?? '');
    const untilMs = Math.min(request.until === undefined ? nowMs : Date.parse(request.until), nowMs);
    if (sinceMs >= untilMs) {
      const until = new Date(untilMs).toISOString();
      throw new BrinkError('E_BAD_REQUEST', `since ${request.since}; expected a time before ${until}`);
    }
    return { before, after, rules: request.rules, sinceMs, untilMs, listed: request.limit } satisfies BacktestOrder;
  }

  return {
    /**
     * Everything that may be refused is refused here, before an answer has begun. Rejects E_CONFIG (naming every problem of the
     * files), E_NOT_FOUND, E_BAD_REQUEST, E_BUSY.
     */
    async prepare(request: RuleTestRequest): Promise<PreparedTest> {
      const { active } = d.configuration;
      const { files } = request;
      const before = await baseline(request.against);
      const candidate =
        files === undefined ? ({ ok: true, published: active } as const) : candidateOf(files, active, await d.models());
      if (!candidate.ok) throw configError(candidate.problems);
      const { published: after } = candidate;
      refuseUnknown(request.rules, [before, after]);
      const tests = testsOf(after, request.rules, files);
      if (request.since === undefined) return { tests, backtest: undefined };
      const wanted = order(request, before, after);
      d.backtests.admit();
      return { tests, backtest: (signal) => d.backtests.run(wanted, signal) };
    },
  };
}

export type TestingGround = ReturnType<typeof createTestingGround>;

/** @throws BrinkError E_NOT_FOUND */
function refuseUnknown(names: readonly string[] | undefined, all: readonly PublishedConfiguration[]): void {
  const known = new Set(all.flatMap(({ configuration }) => Object.keys(configuration.rules)));
  const unknown = names?.find((name) => !known.has(name));
  if (unknown === undefined) return;
  const expected = known.size === 0 ? 'there is none' : `one of ${[...known].slice(0, 20).join(', ')}`;
  throw new BrinkError('E_NOT_FOUND', `there is no rule "${unknown}"; expected ${expected}`);
}

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
