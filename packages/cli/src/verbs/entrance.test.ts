import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { run } from '../program.ts';

const root = resolve(import.meta.dirname, '../../../..');

async function brink(argv: string[], env: Record<string, string> = {}, signal = new AbortController().signal) {
  const out: string[] = [];
  const err: string[] = [];
  const terminal = { line: (text: string) => out.push(text), note: (text: string) => err.push(text), colour: false };
  const code = await run(argv, { terminal, env, signal, root });
  return { code, out: out.join('\n'), err: err.join('\n') };
}

/** Answers by path; text goes out as it is. */
async function entrance(answers: Record<string, object | string>) {
  const asked: string[] = [];
  const server = createServer(({ url = '' }, response) => {
    asked.push(url);
    const answer = answers[url.split('?')[0] ?? ''] ?? {};
    const events = typeof answer === 'string';
    response.writeHead(200, { 'content-type': events ? 'text/event-stream' : 'application/json' });
    response.end(events ? answer : JSON.stringify(answer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    asked,
    env: { BRINK_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}

test('sums come by the hour, and none is exit 1', async () => {
  const bucket = {
    ...{ at: '2026-11-23T04:00:00.000Z', decided: 12, expired: 1, dead: 0, other_labels: 0 },
    ...{
      labels: [{ label: 'cat', count: 9 }],
      score: { min: 0.5, mean: 0.75, max: 0.9 },
      latency_ms: { mean: 8.25, max: 20 },
    },
  };
  await using control = await entrance({ '/v1/decisions/summary': { bucket_s: 3600, items: [bucket] } });
  const { code, out } = await brink(['decisions', '--by', '1h', '--since', '24h', '--device', 'cam-1'], control.env);
  expect(code).toBe(0);
  expect(out).toMatch(/^2026-11-2\d \d\d:\d0 {2}12 decided {2}1 expired, 0 dead {2}score 0\.75 {2}8\.3 ms {2}9 cat$/);
  expect(control.asked[0]).toMatch(/summary\?device=cam-1&since=20\d\d-.*&bucket_s=3600$/);
  await using none = await entrance({ '/v1/decisions/summary': { bucket_s: 60, items: [] } });
  expect((await brink(['decisions', '--by', '1m'], none.env)).code).toBe(1);
});

test('what people wrote beside a device steers no terminal', async () => {
  const device = { name: 'cam-1', state: 'online', registered: true, note: 'gate\u001b[2J' };
  await using control = await entrance({ '/v1/devices': { items: [device] }, '/v1/devices/cam-1': device });
  for (const argv of [['devices'], ['devices', 'show', 'cam-1']]) {
    const { code, out } = await brink(argv, control.env);
    expect([code, out.includes('gate'), out.includes('\u001b')], argv.join(' ')).toEqual([0, true, false]);
  }
});

test('watch asks for what it is to show, from the number on that it is given', async () => {
  const decision = { n: 7, device: 'cam-1', received_at: '2026-11-23T04:00:00Z', outcome: 'decided', latency_ms: 1 };
  const text = `id: 7\nevent: decision\ndata: ${JSON.stringify({ ...decision, label: 'cat', score: 0.9 })}\n\n`;
  await using control = await entrance({ '/v1/events': text });
  const abort = new AbortController();
  const watching = brink(
    ['watch', '--label', 'cat', '--score-min', '0.5', '--after', '6', '--json'],
    control.env,
    abort.signal,
  );
  await expect.poll(() => control.asked.length).toBeGreaterThanOrEqual(2);
  abort.abort();
  const { out } = await watching;
  expect(control.asked[0]).toBe('/v1/events?label=cat&score_min=0.5');
  expect(JSON.parse(out.split('\n')[0] ?? '')).toMatchObject({ event: 'decision', n: 7 });
});

const law = { holds: true, items: [] };
const status = {
  ...{ site: 'plant-7', now: new Date().toISOString(), ready: true, problems: [], dead: [], disk: null },
  configuration: { revision: 'c7f1a2000000', error: null, applied: true },
  services: ['gateway', 'inference', 'control'].map((service) => ({ service, instance: service, state: 'online' })),
  ...{ laws: { streams: law, pipelines: law }, rules: { set_aside: [] }, actions: {}, outbox: { oldest_ms: null } },
  ledger: { n: 1, lag_ms: 1, queued: 0, wal_bytes: 0, problem: null as string | null },
};
const answers = {
  '/v1/discovered': { items: [] },
  '/v1/devices': { items: [] },
  '/v1/config': { configuration: { site: {} } },
};

test('doctor is exit 0 where nothing but notes is found, and 1 with what to do where something is wrong', async () => {
  await using well = await entrance({ ...answers, '/v1/status': status });
  const good = await brink(['doctor'], well.env);
  expect(good.code).toBe(0);
  expect(good.out).toMatch(/^ok {2}services +gateway, inference, control are ready$/m);
  expect(good.out).toMatch(/^·· {2}heartbeat +.*\n.*→ site: \{ heartbeat/m);
  await using ill = await entrance({
    ...answers,
    '/v1/status': { ...status, ledger: { ...status.ledger, problem: 'E_STORAGE_FULL: the disk\u001b[2J' } },
  });
  const bad = await brink(['doctor'], ill.env);
  expect(bad.code).toBe(1);
  expect(bad.out).toMatch(/^!! {2}ledger +E_STORAGE_FULL: the disk.*\n.*→ make room/m);
  expect(bad.out).not.toContain('\u001b');
  const { items } = JSON.parse((await brink(['doctor', '--json'], ill.env)).out);
  expect(items.filter(({ state }: { state: string }) => state === 'problem')).toHaveLength(1);
});

const execute = promisify(execFile);

test('bash completes verbs, verbs below verbs, and options, also behind names of the site', async () => {
  const { out } = await brink(['completion', 'bash']);
  const complete = async (...words: string[]) => {
    const script = `${out}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _brink; echo "\${COMPREPLY[*]}"`;
    return (await execute('bash', ['-c', script])).stdout.trim().split(' ');
  };
  expect(await complete('brink', 'dec')).toEqual(['decisions']);
  expect(await complete('brink', 'devices', '')).toEqual(expect.arrayContaining(['add', 'list', 'rotate', 'revoke']));
  expect(await complete('brink', 'devices', 'rotate', 'cam-1', '--j')).toEqual(['--json']);
  expect(await complete('brink', 'decisions', '--device', 'cam-1', '--sc')).toEqual(['--score-min']);
  expect(await complete('brink', 'nonsense', 'sta')).toEqual(['status']);
});

test('completion for zsh and fish has every verb, with quotes that the shell takes', async () => {
  const zsh = (await brink(['completion', 'zsh'])).out;
  expect(zsh).toMatch(/^#compdef brink\n/);
  const fish = (await brink(['completion', 'fish'])).out.split('\n');
  expect(fish.filter((line) => / -a (doctor|watch|completion) /.test(line))).toHaveLength(3);
  for (const line of fish) expect(line.replace(/\\'/g, '').split("'").length % 2, line).toBe(1);
});
