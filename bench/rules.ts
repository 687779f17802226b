import { type Decision, DecisionSchema, type RuleConfig, RuleSchema } from '@brink/protocol';
import { type CompiledRules, compileRules, emptyState, reduce } from '@brink/rules';
import type { Bench, BenchResult } from './bench.ts';
import { seededRandom } from './random.ts';
import { measureRounds } from './rounds.ts';

const BAR = 0.15;
const MEASURE_MS = 1500;
const DEVICES = 64;
const DECISIONS = 4096;
const FRAME_MS = 40;
const LABELS = ['person', 'cat', 'dog', 'car'];

/** Ten kinds of rule, on one pipeline. */
const KINDS: readonly Record<string, unknown>[] = [
  { when: 'decision.label == "person" && decision.score >= 0.6' },
  { when: 'decision.objects.exists(o, o.label == "person" && o.score >= 0.6)', for: { at_least: 3, of: 5 } },
  { when: 'decision.score > 0.9', for: { ms: 2000 }, release: { when: 'decision.score < 0.3', ms: 1000 } },
  { when: 'decision.label == "cat"', cooldown_ms: 60_000, by: ['device', 'label'] },
  { when: 'has(previous.label) && previous.label != decision.label' },
  { when: 'decision.objects.exists(o, o.score > 0.5 && inZone(o, "drive"))' },
  { when: 'decision.label == "dog"', between: '22:00-06:00' },
  { absent_ms: 5000 },
  { when: 'decision.label == "car"', by: [], quorum: { devices: 3, within_ms: 1000 } },
  { when: 'decision.objects.filter(o, o.label == "car").size() > 2', by: ['stream'] },
];

/** The reducer alone: no ledger, one thread. What is emitted counts as sent at once. */
export const rules: Bench = {
  what: 'decisions/s through the reducer with 200 rules ÷ with 20: the 180 more are each for one device',
  run(report): Promise<BenchResult> {
    const log = decisions();
    return measure(log, report);
  },
};

async function measure(log: readonly Decision[], report: (line: string) => void): Promise<BenchResult> {
  const [few, many] = [compiled(20), compiled(20, 180)] as const;
  const perSecond = (rulesAtWork: CompiledRules) => Promise.resolve(run(rulesAtWork, log));
  await perSecond(few);
  await perSecond(many);
  const series = await measureRounds(
    () => perSecond(few),
    () => perSecond(many),
    report,
    { unit: 'decisions/s', baseline: '20 rules' },
  );
  report('every rule for all devices:');
  const general = compiled(200);
  const everywhere = await measureRounds(
    () => perSecond(few),
    () => perSecond(general),
    report,
    { unit: 'decisions/s', baseline: '20 rules' },
  );
  const baselines = series.rounds.flatMap(({ baseline }) => baseline);
  return {
    ...series,
    unit: '200 rules ÷ 20 rules',
    bar: BAR,
    variants: {
      '20 rules, decisions/s': Math.round(baselines.reduce((sum, value) => sum + value, 0) / baselines.length),
      '1 rule, decisions/s': Math.round(run(compiled(1), log)),
      'every rule for all devices, of which linear growth would be 0.1': everywhere.figure,
      ...{ devices: DEVICES, kinds: KINDS.length },
    },
  };
}

const ZONES = {
  people: {
    drive: [
      [0.1, 0.5],
      [0.9, 0.5],
      [0.9, 1],
      [0.1, 1],
    ] as [number, number][],
  },
};

/** @param general for all devices; single: for one device each, as sites have them that grow */
function compiled(general: number, single = 0): CompiledRules {
  const of = (index: number) => KINDS[index % KINDS.length] as Record<string, unknown>;
  const conditions = KINDS.filter(({ when, quorum }) => when !== undefined && quorum === undefined);
  const entries = [
    ...Array.from({ length: general }, (_, index) => of(index)),
    ...Array.from({ length: single }, (_, index) => {
      const kind = conditions[index % conditions.length] as Record<string, unknown>;
      return { ...kind, when: `device == "cam-${index % DEVICES}" && (${String(kind['when'])})` };
    }),
  ].map((rule, index): [string, RuleConfig] => [`rule-${index}`, ruleOf(rule)]);
  return compileRules(Object.fromEntries(entries), {
    ...{ pipelines: ['people'], mqttAllow: [], timezone: 'Europe/Berlin', zones: ZONES },
  });
}

const ruleOf = (rule: Record<string, unknown>): RuleConfig =>
  RuleSchema.parse(
    Object.fromEntries([
      ...Object.entries({ on: 'people', ...rule }),
      ['then', [{ command: { device: 'siren-1', name: 'sound', args: { level: 3, who: '${device}' } } }]],
    ]),
  );

/** Of a detector: three objects each, devices in turn. */
function decisions(): Decision[] {
  const random = seededRandom(7);
  const label = () => LABELS[Math.floor(random() * LABELS.length)] as string;
  return Array.from({ length: DECISIONS }, (_, index) => {
    const device = `cam-${index % DEVICES}`;
    const objects = Array.from({ length: 3 }, () => {
      const [x, y] = [random() * 0.5, random() * 0.5];
      return { label: label(), score: random(), box: [x, y, x + 0.3, y + 0.4] };
    }).sort((a, b) => b.score - a.score);
    return DecisionSchema.parse({
      ...{ v: 1, id: `${device}.front.k3v9.${index + 1}.0.people`, n: index + 1, device, stream: 'front' },
      ...{ pipeline: 'people', outcome: 'decided', task: 'detection' },
      ...{ label: objects[0]?.label, score: objects[0]?.score, objects },
      frames: { boot: 'k3v9', first: index + 1, last: index + 1, received: 1 },
      model: { name: 'person-detect', version: 3 },
      ...{ received_at: '2026-11-22T21:00:00.000Z', latency_ms: 8, revision: 'c7f1a2000000' },
    });
  });
}

/** @returns decisions per second */
function run(rulesAtWork: CompiledRules, log: readonly Decision[]): number {
  const state = emptyState();
  const startMs = Date.parse('2026-11-22T21:00:00.000Z');
  const started = performance.now();
  let seen = 0;
  let elapsedMs = 0;
  while (elapsedMs < MEASURE_MS) {
    for (let step = 0; step < 64; step++) {
      const decision = log[seen % log.length] as Decision;
      const nowMs = startMs + Math.floor((seen * FRAME_MS) / DEVICES);
      seen += 1;
      const { effects } = reduce(state, { kind: 'decision', decision, receivedMs: nowMs, nowMs }, rulesAtWork);
      for (const effect of effects) {
        if (effect.kind !== 'action') continue;
        const { rule, key, id } = effect.action;
        reduce(state, { kind: 'action', rule, key, id, change: 'sent', nowMs }, rulesAtWork);
      }
    }
    elapsedMs = performance.now() - started;
  }
  return (seen * 1000) / elapsedMs;
}
