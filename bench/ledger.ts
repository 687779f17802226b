import { setTimeout as sleep } from 'node:timers/promises';
import { type Control, startBroker, startControl } from '@brink/test/control';
import { type Dialled, dial } from '@brink/test/link';
import type { Bench, BenchResult } from './bench.ts';
import { startChild } from './child.ts';
import { writeTinyModel } from './durable.ts';
import { temporaryFolder } from './folder.ts';
import type { LedgerLoopReply, LedgerLoopRequest } from './ledger-loop-child.ts';
import { outcomeBytes } from './outcomes.ts';
import { measureRounds } from './rounds.ts';

const BAR = 0.35;
const MEASURE_MS = 4000;
const DEVICES = 64;
const PIPELINES = 5;
const RULES = 20;
/** Requests in flight, and outcomes in each: what a gateway sends that is behind. */
const IN_FLIGHT = 8;
const BATCH = 100;
/** Of its JSON, as control keeps it: the decision, and the evidence. */
const [BODY_BYTES, EVIDENCE_BYTES] = [440, 560];

/** What everything around it costs: the link, the schema, rules, counts, sums, the feed; against SQLite alone. */
export const ledger: Bench = {
  what: `outcomes/s over the link into COMMIT with ${RULES} rules ÷ a bare SQLite loop of the same rows, as many per COMMIT, each synced`,
  async run(report): Promise<BenchResult> {
    using folder = temporaryFolder();
    writeTinyModel(folder.path);
    await using broker = await startBroker(folder.path, site());
    await using control = await startControl({ folder: folder.path, url: broker.url, data: 'data' });
    await using gateway = await dial(control.socket);
    await using bare = startChild<LedgerLoopReply>('ledger-loop-child.ts');
    const load = createLoad(gateway);
    const variants: Record<string, unknown> = {};
    const series = [];
    for (const durable of [true, false]) {
      await load.perSecond(durable, MEASURE_MS / 2);
      const rowsPerCommit = await rowsPerGroup(control, () => load.perSecond(durable, MEASURE_MS));
      report(`${durable ? 'durable streams' : 'latest streams, no sync'}: ${rowsPerCommit} rows a COMMIT`);
      const request: LedgerLoopRequest = {
        ...{ folder: folder.path, bodyBytes: BODY_BYTES, evidenceBytes: EVIDENCE_BYTES, ms: MEASURE_MS },
        ...{ rowsPerCommit, full: durable },
      };
      const measured = await measureRounds(
        async () => (await bare.ask(request)).perSecond,
        () => load.perSecond(durable, MEASURE_MS),
        report,
        { unit: 'outcomes/s', baseline: 'bare' },
      );
      series.push(measured);
      variants[durable ? 'durable' : 'latest'] = { ...measured, rowsPerCommit };
    }
    const [first] = series;
    variants['actions'] = await control.metric('brink_control_ledger_queued');
    return {
      figure: first?.figure ?? null,
      unit: 'ratio to a bare SQLite loop',
      bar: BAR,
      variants,
      rounds: first?.rounds ?? [],
    };
  },
};

/** Each outcome is looked at by four rules; now and then one acts. */
function site(): object {
  const names = Array.from({ length: PIPELINES }, (_, at) => `pipe-${at}`);
  const streams = names.map((name) => [`of-${name}`, { format: 'tensor', pipelines: { [name]: { model: 'tiny' } } }]);
  const command = {
    device: 'siren-1',
    name: 'sound',
    args: { level: '${decision.score}' },
    expires_ms: 1000,
    ack: 'none',
  };
  const rules = Array.from({ length: RULES }, (_, at) => {
    const on = names[at % PIPELINES];
    const when = `decision.label == "cat" && decision.score >= 0.${at + 50}`;
    // biome-ignore lint/suspicious/noThenProperty: the word of the configuration; never awaited
    return [`rule-${at}`, { on, when, for: { at_least: 3, of: 5 }, cooldown_ms: 60_000, then: [{ command }] }];
  });
  return { version: 1, streams: Object.fromEntries(streams), rules: Object.fromEntries(rules) };
}

/** Outcomes that are always new, in so many requests at once. */
function createLoad(gateway: Dialled) {
  let seq = 0;
  const next = (durable: boolean): Buffer[] =>
    Array.from({ length: BATCH }, () => {
      seq += 1;
      const device = `cam-${seq % DEVICES}`;
      return outcomeBytes({ device, seq, pipeline: `pipe-${seq % PIPELINES}`, score: (seq % 97) / 97, durable });
    });
  return {
    async perSecond(durable: boolean, ms: number): Promise<number> {
      let committed = 0;
      const start = performance.now();
      const work = async () => {
        while (performance.now() - start < ms) {
          await gateway.commit(next(durable));
          committed += BATCH;
        }
      };
      await Promise.all(Array.from({ length: IN_FLIGHT }, work));
      const perSecond = (committed * 1000) / (performance.now() - start);
      // What it emitted beside is sent before the next one measures.
      await sleep(200);
      return perSecond;
    },
  };
}

async function rowsPerGroup(control: Control, run: () => Promise<unknown>): Promise<number> {
  const figures = async () =>
    [
      await control.metric('brink_control_ledger_committed'),
      await control.metric('brink_control_ledger_groups'),
    ] as const;
  const [rowsBefore, groupsBefore] = await figures();
  await run();
  const [rows, groups] = await figures();
  return Math.max(1, Math.round((rows - rowsBefore) / Math.max(1, groups - groupsBefore)));
}
