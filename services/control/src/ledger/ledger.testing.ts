import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Configuration,
  ConfigurationSchema,
  type DeadLetter,
  type Outcome,
  OutcomeSchema,
  type RuleConfig,
} from '@brink/protocol';
import { silentLogger, systemClock } from '@brink/runtime';
import { createLedger, type Ledger, type LedgerConfig, type LedgerDeps } from './ledger.ts';
import type { Committed, LedgerItem } from './records.ts';

// What tests of the ledger, and of what stands on it, share.

export interface OpenLedger extends AsyncDisposable {
  readonly ledger: Ledger;
  readonly folder: string;
  /** What the feed was told, in order. */
  readonly feed: Committed[];
}

/** A started ledger in a folder of its own (or the one given), gone with the block. */
export async function openLedger(
  options: Partial<LedgerConfig> & Partial<Pick<LedgerDeps, 'clock' | 'use' | 'machine'>> = {},
): Promise<OpenLedger> {
  const { clock = systemClock, use, machine, ...given } = options;
  const { folder = await mkdtemp(join(tmpdir(), 'brink-ledger-')), ...config } = given;
  const ledger = createLedger(
    { groupMs: 0, ...config, folder },
    { logger: silentLogger, clock, ...(use && { use }), ...(machine && { machine }) },
  );
  const feed: Committed[] = [];
  ledger.onCommitted((committed) => feed.push(committed));
  await ledger.start(new AbortController().signal);
  return {
    ...{ ledger, folder, feed },
    async [Symbol.asyncDispose]() {
      await ledger.stop();
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

export const FIRST_MS = Date.parse('2026-11-22T16:00:00.000Z');

export function outcome(seq: number, fields: Partial<Outcome> = {}): Outcome {
  const boot = fields.boot ?? 'k3v9';
  return OutcomeSchema.parse({
    ...{ device: 'cam-1', stream: 'front', boot, seq, part: 0, pipeline: 'pets', outcome: 'decided' },
    result: {
      task: 'classification',
      label: 'cat',
      label_text: '猫',
      score: 0.91,
      classes: [{ label: 'cat', score: 0.91 }],
    },
    frames: { boot, first: seq, last: seq, received: 1 },
    ...{ model: { name: 'cifar-net', version: 3 }, received_ms: FIRST_MS + seq, latency_ms: 8.4, durable: false },
    evidence: {
      frame: { sha256: 'f'.repeat(64), bytes: 4096, type: 'image/jpeg', width: 640, height: 480 },
      model: { passport_sha256: 'a'.repeat(64), model_sha256: 'b'.repeat(64), provider: 'cpu' },
      transform: { scale: [0.05, 0.067], offset: [0, 0], fit: 'stretch', width: 32, height: 32 },
      ...{ batch: 2, ms: { queue: 1, infer: 4 }, top: [{ label: 'cat', raw: 4.2 }], attempts: 1, gateway: 'gateway-1' },
    },
    ...fields,
  });
}

export const items = (...outcomes: Outcome[]): LedgerItem[] =>
  outcomes.map((value) => ({ kind: 'outcome', outcome: value, json: JSON.stringify(value) }));

export function deadLetter(fields: Partial<DeadLetter> = {}): LedgerItem {
  const letter: DeadLetter = {
    ...{ dead: true, device: 'cam-1', stream: 'front', boot: 'k3v9', seq: 7 },
    error: { code: 'E_IMAGE_CORRUPT', detail: 'premature end of JPEG file' },
    ...{ sha256: 'c'.repeat(64), bytes: 100, received_ms: FIRST_MS },
    ...fields,
  };
  return { kind: 'dead', letter, json: JSON.stringify(letter) };
}

/** The demonstration's rule, or what is given, on a site with one pipeline. `does` stands for `then`. */
export function site(rules: Record<string, Record<string, unknown>> = { flap: {} }): Configuration {
  const withDefaults = Object.entries(rules).map(([name, { does, ...rule }]) => [
    name,
    Object.fromEntries([
      ...Object.entries({ on: 'pets', when: 'decision.label == "cat" && decision.score >= 0.6', ...rule }),
      ['then', does ?? [{ command: { device: 'feeder-1', name: 'open', args: { portion: 2 } } }]],
    ]) as RuleConfig,
  ]);
  return ConfigurationSchema.parse({
    version: 1,
    site: { name: 'home', mqtt_allow: ['zigbee2mqtt/'] },
    streams: { front: { format: 'image', pipelines: { pets: { model: 'cifar-net' } } } },
    rules: Object.fromEntries(withDefaults),
  });
}

export const published = (configuration: Configuration, revision = 'c7f1a2000000') => ({ revision, configuration });
