import {
  type Backtest,
  BrinkError,
  type PublishedConfiguration,
  type RuleTestReport,
  type RuleTestRequest,
} from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { ConfigurationKeeper } from '../configuration/active.ts';
import type { ModelsOnDisk } from '../configuration/crosschecks.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Backtests } from './backtests.ts';
import type { BacktestOrder } from './order.ts';
import { inThread, type Tried } from './thread.ts';

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

/** Files are read, compiled and tested in so long, or they are none that a person could have written. */
const TRY_MS_MAX = 8000;
const TRIED_AT_ONCE_MAX = 2;

/** Rules that are tried before they are at work: on the tests that they carry, and on what is stored. */
export function createTestingGround(o: { readonly tryMsMax?: number }, d: TestingDeps) {
  const msMax = o.tryMsMax ?? TRY_MS_MAX;
  let trying = 0;

  async function baseline(revision: string | undefined): Promise<PublishedConfiguration> {
    const { active } = d.configuration;
    if (revision === undefined || revision === active.revision) return active;
    const found = await d.ledger.read.configuration(revision);
    if (found === undefined) throw new BrinkError('E_NOT_FOUND', `there is no revision ${revision}`);
    return found;
  }

  /** In a thread: who sends a bomb holds up nobody. */
  async function tryRules({ files, rules: names }: RuleTestRequest): Promise<Tried> {
    const { revision, configuration } = d.configuration.active;
    const active = { revision, configuration };
    const idle = files === undefined && Object.values(configuration.rules).every(({ tests }) => tests.length === 0);
    if (idle) return { published: active, tests: [] };
    if (trying >= TRIED_AT_ONCE_MAX) throw new BrinkError('E_BUSY', `${trying} others try rules; as many at a time`);
    trying += 1;
    try {
      const models = await d.models();
      return await inThread({ job: 'try', files, active, models, names }, { msMax, late: () => late(msMax) }, d);
    } finally {
      trying -= 1;
    }
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
     * files, or that they take too long), E_NOT_FOUND, E_BAD_REQUEST, E_BUSY.
     */
    async prepare(request: RuleTestRequest): Promise<PreparedTest> {
      const before = await baseline(request.against);
      const { published: after, tests } = await tryRules(request);
      refuseUnknown(request.rules, [before, after]);
      if (request.since === undefined) return { tests, backtest: undefined };
      const wanted = order(request, before, after);
      d.backtests.admit();
      return { tests, backtest: (signal) => d.backtests.run(wanted, signal) };
    },
  };
}

export type TestingGround = ReturnType<typeof createTestingGround>;

const late = (msMax: number) =>
  new BrinkError('E_CONFIG', `the rules take longer than ${msMax} ms to read and test; expected some that take less`);

/** @throws BrinkError E_NOT_FOUND */
function refuseUnknown(names: readonly string[] | undefined, all: readonly PublishedConfiguration[]): void {
  const known = new Set(all.flatMap(({ configuration }) => Object.keys(configuration.rules)));
  const unknown = names?.find((name) => !known.has(name));
  if (unknown === undefined) return;
  const expected = known.size === 0 ? 'there is none' : `one of ${[...known].slice(0, 20).join(', ')}`;
  throw new BrinkError('E_NOT_FOUND', `there is no rule "${unknown}"; expected ${expected}`);
}
