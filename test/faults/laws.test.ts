import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Status } from '@brink/protocol';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Api, api } from '../harness/api.ts';
import { startUp } from '../harness/up.ts';

// The second promise, looked at as often as can be while everything happens: both laws in each single scrape of the gateway's
// metrics and of control's status, and what a durable stream counted is never less than before.

const FRAME = Buffer.alloc(32 * 32 * 3, 99);
const long = process.env.BRINK_TEST_SIZE === 'long';
/** Scrapes of each that have to hold before the next thing happens. */
const SCRAPES = long ? 300 : 20;
const RECOVERY_MS = 30_000;

const site = (more: object = {}) => ({
  version: 1,
  streams: {
    cams: { format: 'tensor', frame_age_ms_max: 500, pipelines: { pets: { model: 'cifar-net' }, ...more } },
    pump: { format: 'tensor', delivery: 'durable', pipelines: { wear: { model: 'cifar-net' } } },
  },
});

let folder: string;
let up: Awaited<ReturnType<typeof startUp>>;
let http: Api;
let client: MqttClient;
let load: ReturnType<typeof setInterval>;
const pids = new Map<string, number>();

const broken: string[] = [];
const scraped = { metrics: 0, status: 0 };
/** Of the durable stream, the highest that was ever seen. */
const highest = new Map<string, number>();
let stop = false;
let scraping: Promise<unknown>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'brink-laws-'));
  configure(site());
  up = await startUp({ folder, config: join(folder, 'config') });
  http = api(up.http);
  client = await connectAsync(up.mqtt, { reconnectPeriod: 200 });
  client.on('error', () => {});
  let seq = 0;
  load = setInterval(() => {
    seq += 1;
    for (let i = 0; i < 8; i++) client.publish(`brink/cam-${i % 4}/up/frames/cams`, FRAME);
    for (let i = 0; i < 2; i++) client.publish(`brink/dev-${i}/up/frames/pump/k3v9-${seq}`, FRAME, { qos: 1 });
    // Refused by name, sent again, of no stream.
    client.publish('brink/cam-0/up/frames/cams', Buffer.alloc(0));
    client.publish(`brink/dev-0/up/frames/pump/k3v9-${seq}`, FRAME, { qos: 1 });
    client.publish('brink/cam-0/up/frames/nobody', FRAME);
  }, 20);
  scraping = Promise.all([scrapeMetrics(), scrapeStatus()]);
}, 120_000);

afterAll(async () => {
  stop = true;
  clearInterval(load);
  await scraping;
  await client?.endAsync(true);
  await up?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function configure(next: object): void {
  mkdirSync(join(folder, 'config'), { recursive: true });
  writeFileSync(join(folder, 'config/site.yaml'), JSON.stringify(next));
}

/** label values → fate → count, of one metric. */
function rowsOf(page: string, metric: string, by: string): Map<string, Record<string, number>> {
  const rows = new Map<string, Record<string, number>>();
  for (const [, labels = '', value] of page.matchAll(new RegExp(`^${metric}\\{(.*)\\} (\\S+)$`, 'gm'))) {
    const of = Object.fromEntries(Array.from(labels.matchAll(/(\w+)="([^"]*)"/g), ([, name, text]) => [name, text]));
    const row = rows.get(of[by] as string) ?? {};
    row[of['fate'] ?? 'pending'] = Number(value);
    rows.set(of[by] as string, row);
  }
  return rows;
}

function neverLess(key: string, value: number): void {
  if (value < (highest.get(key) ?? 0)) broken.push(`${key} was ${highest.get(key)}, is ${value}`);
  else highest.set(key, value);
}

function checkMetrics(page: string): void {
  const streams = rowsOf(page, 'brink_gateway_frames_total', 'stream');
  for (const [stream, row] of streams) {
    const { received = 0, accepted = 0, duplicate = 0, rejected = 0, dropped = 0 } = row;
    if (received !== accepted + duplicate + rejected + dropped) broken.push(`${stream}: ${JSON.stringify(row)}`);
  }
  const pipelines = rowsOf(page, 'brink_gateway_units_total', 'pipeline');
  for (const [pipeline, { pending }] of rowsOf(page, 'brink_gateway_units_pending', 'pipeline')) {
    Object.assign(pipelines.get(pipeline) ?? {}, { pending });
  }
  for (const [pipeline, row] of pipelines) {
    const { formed = 0, decided = 0, expired = 0, dead = 0, dropped = 0, pending = 0 } = row;
    const whole = formed === decided + expired + dead + dropped + pending && pending >= 0;
    if (!whole) broken.push(`${pipeline}: ${JSON.stringify(row)}`);
  }
  // A gateway that has not read its spool yet says nothing of it.
  for (const [fate, count] of Object.entries(streams.get('pump') ?? {})) neverLess(`pump ${fate}`, count);
  const { pending: _, ...wear } = pipelines.get('wear') ?? {};
  for (const [fate, count] of Object.entries(wear)) neverLess(`wear ${fate}`, count);
}

async function scrapeMetrics(): Promise<void> {
  while (!stop) {
    const page = await fetch(`${up.ops['gateway']}/metrics`).then(
      (answer) => answer.text(),
      () => undefined,
    );
    if (page?.includes('brink_gateway_frames_total{') === true) {
      checkMetrics(page);
      scraped.metrics += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function scrapeStatus(): Promise<void> {
  while (!stop) {
    const { laws } = await http.get<Status>('/v1/status').catch(() => ({ laws: undefined }));
    if (laws !== undefined) {
      if (!laws.streams.holds) broken.push(`status: ${JSON.stringify(laws.streams.items.filter((of) => !of.holds))}`);
      if (!laws.pipelines.holds)
        broken.push(`status: ${JSON.stringify(laws.pipelines.items.filter((of) => !of.holds))}`);
      scraped.status += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Both are scraped so often again, and units are decided meanwhile. */
async function seenAgain(): Promise<void> {
  const { metrics, status } = scraped;
  const decided = highestDecided();
  await expect
    .poll(() => scraped.metrics >= metrics + SCRAPES && scraped.status >= status + SCRAPES, { timeout: RECOVERY_MS })
    .toBe(true);
  await expect.poll(highestDecided, { timeout: RECOVERY_MS }).toBeGreaterThan(decided);
  expect(broken).toEqual([]);
}

const highestDecided = () => highest.get('wear decided') ?? 0;

it('both laws hold in every scrape under load', seenAgain, 60_000);

it.each(['gateway', 'inference', 'control', ...(long ? ['gateway'] : [])])(
  '… and when %s is killed, and what a durable stream counted is never less than before',
  async (service) => {
    const seen = up.events.length;
    process.kill(pids.get(service) ?? (up.pids[service] as number), 'SIGKILL');
    const started = await up.event(
      (event) => event['event'] === 'started' && event['service'] === service && up.events.indexOf(event) >= seen,
    );
    pids.set(service, started['pid'] as number);
    await seenAgain();
  },
  90_000,
);

it('… and when pipelines come and go', async () => {
  for (const more of [{ often: { model: 'cifar-net', every_ms: 50 } }, {}]) {
    configure(site(more));
    await http.until<Status>('/v1/status', ({ configuration, laws }) => {
      const known = laws.pipelines.items.some(({ pipeline, formed }) => pipeline === 'often' && formed > 0);
      return configuration.applied && known;
    });
    await seenAgain();
  }
}, 90_000);

it('says by device, stream and reason what was dropped', async () => {
  const { laws } = await http.until<Status>('/v1/status', (status) =>
    status.laws.streams.items.some(({ drops }) => (drops?.['every_ms'] ?? 0) > 0),
  );
  const cams = laws.streams.items.filter(({ stream }) => stream === 'cams');
  expect(cams.every(({ device }) => device.startsWith('cam-'))).toBe(true);
  for (const { dropped, drops = {} } of cams) expect(drops['replaced'] ?? 0).toBeGreaterThanOrEqual(dropped);
  const page = await fetch(`${up.ops['gateway']}/metrics`).then((answer) => answer.text());
  expect(page).toMatch(/^brink_gateway_drops_total\{stream="cams",reason="every_ms",service="gateway"\} [1-9]/m);
});

it('negative control: a count that is off by one is seen', () => {
  checkMetrics(
    'brink_gateway_frames_total{stream="x",fate="received"} 2\nbrink_gateway_frames_total{stream="x",fate="accepted"} 1\n',
  );
  expect(broken.splice(0)).toHaveLength(1);
});
