import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Backtest } from '@brink/protocol';
import { afterEach, describe, expect, test } from 'vitest';
import { run } from '../program.ts';

const root = resolve(import.meta.dirname, '../../../..');
let server: Server | undefined;
const folders: string[] = [];
afterEach(async () => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

async function brink(argv: string[], env: Record<string, string> = {}) {
  const out: string[] = [];
  const err: string[] = [];
  const terminal = { line: (text: string) => out.push(text), note: (text: string) => err.push(text), colour: false };
  const code = await run(argv, { terminal, env, signal: new AbortController().signal, root });
  return { code, out, err: err.join('\n') };
}

/** Control's entrance, as far as a test needs it. @param lead what comes before the answer, as while a backtest runs */
async function entrance(answers: Record<string, unknown>, lead = '') {
  const asked: { path: string; body: unknown }[] = [];
  server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const path = `${request.method} ${request.url}`;
    asked.push({ path, body: body === '' ? undefined : JSON.parse(body) });
    response.writeHead(path in answers ? 200 : 404, { 'content-type': 'application/json' });
    response.end(lead + JSON.stringify(answers[path] ?? {}));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { asked, env: { BRINK_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } };
}

const arming = { state: 'snoozed', until: '2026-11-22T18:00:00.000Z', by: 'ann', note: 'painting', since: '' };
const open = {
  command: { device: 'feeder-1', name: 'open', args: { grams: 20 }, expires_ms: 10_000, ack: 'required' },
};

describe('brink rules', () => {
  test('lists them, with what is set aside', async () => {
    const item = { name: 'flap', on: ['pets'], arming, errors: 2, keys: [{ state: 'active' }, { state: 'idle' }] };
    const { env } = await entrance({ 'GET /v1/rules': { items: [item] } });
    const { code, out } = await brink(['rules'], env);
    expect([code, out]).toEqual([
      0,
      ['flap  on pets  snoozed until 2026-11-22T18:00:00.000Z by ann: painting  1 at work, 2 failed evaluations'],
    ]);
  });

  test('says of each key what it waits for', async () => {
    const key = { key: 'cam-1\u001b', state: 'arming', since: '2026-11-22T16:00:00.000Z', waits_for: 'fires at …' };
    const state = { rule: 'flap', arming: { state: 'armed' }, errors: 0, keys: [key] };
    const { env } = await entrance({ 'GET /v1/rules/flap/state': state });
    expect((await brink(['rules', 'state', 'flap'], env)).out).toEqual([
      'flap  armed',
      '  cam-1�  arming  since 2026-11-22T16:00:00.000Z  fires at …',
    ]);
  });

  test('sets aside with who and until when, and arms again', async () => {
    const { env, asked } = await entrance({
      'POST /v1/rules/flap/snooze': { rule: 'flap', arming },
      'POST /v1/rules/flap/arm': { rule: 'flap', arming: { state: 'armed' } },
    });
    const until = ['2026-11-22T18:00:00Z', '--by', 'ann', '--note', 'painting'];
    const { out } = await brink(['rules', 'snooze', 'flap', ...until], env);
    expect(out).toEqual(['flap  snoozed until 2026-11-22T18:00:00.000Z by ann: painting']);
    expect(asked[0]?.body).toEqual({ until: '2026-11-22T18:00:00.000Z', by: 'ann', note: 'painting' });
    expect((await brink(['rules', 'arm', 'flap'], env)).out).toEqual(['flap  armed']);
  });

  test('fires, and says how to have it explained', async () => {
    const action = {
      ...{ id: 'd~flap~@test~1~0', kind: 'command', target: 'feeder-1', config: open, state: 'pending', key: '@test' },
      ...{ rule: 'flap', decision: 'd', created_at: '2026-11-22T16:00:00.000Z' },
    };
    const { env, asked } = await entrance({ 'POST /v1/rules/flap/fire': { rule: 'flap', actions: [action] } });
    const argv = ['rules', 'fire', 'flap', '--release', '--by', 'ann', '--sample', '{"device":"cam-1"}'];
    const { code, out } = await brink(argv, env);
    expect([code, out[1]]).toEqual([0, '  brink explain d~flap~@test~1~0']);
    expect(out[0]).toContain('feeder-1 open pending  rule flap, fired as a test');
    expect(asked[0]?.body).toEqual({ sample: { device: 'cam-1' }, phase: 'on_release', by: 'ann' });
  });
});

const FIRING = { rule: 'flap', phase: 'then', key: 'cam-1', at: '2026-11-22T16:00:00.000Z', decision: 'd' } as const;
const BACKTEST = {
  ...{ since: '2026-11-21T16:00:00.000Z', until: '2026-11-22T16:00:00.000Z', against: 'c7f1a2000000' },
  ...{ complete: true, decisions: 864_000, through: null, took_ms: 4200, unlisted: 7 },
  rules: [
    {
      ...{ rule: 'flap', change: 'changed', before: 14, after: 9, same: 8, fires: 1, silent: 6, differs: 0 },
      ...{ suppressed: 0, errors: 1, last_error: 'when, column 1: no such key' },
    },
  ],
  differences: [
    { ...FIRING, difference: 'fires', actions: [open] },
    {
      ...FIRING,
      difference: 'silent',
      actions: [{ mqtt: { topic: 'a/b', payload: 1, retain: false, expires_ms: 1 } }],
    },
  ],
  approximate: [{ pipeline: 'pets', why: 'not every decision of it is kept' }],
} as unknown as Backtest;

describe('brink rules test', () => {
  test('--since says what would fire and what no longer, and names what is approximate', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'brink-rules-'));
    folders.push(folder);
    const file = join(folder, 'new.yaml');
    await writeFile(file, 'rules: {}');
    const report = { ok: true, tests: [], backtest: BACKTEST };
    const { env, asked } = await entrance({ 'POST /v1/rules/test': report }, '\n\n');
    const { code, out } = await brink(['rules', 'test', file, '--since', '2026-11-21T16:00:00Z', '--limit', '2'], env);
    expect(code).toBe(0);
    expect(asked[0]?.body).toEqual({
      ...{ files: [{ name: file, text: 'rules: {}' }], since: '2026-11-21T16:00:00.000Z', limit: 2 },
    });
    expect(out).toEqual([
      '864000 decisions of 2026-11-21T16:00:00.000Z … 2026-11-22T16:00:00.000Z, in 4200 ms; compared with c7f1a2000000',
      '',
      'rule           fires now  would fire  new  gone  other  too old',
      'flap  changed  14         9           1    6     0      0',
      '',
      '+ 2026-11-22T16:00:00.000Z flap cam-1  would fire: feeder-1 open {"grams":20}  d',
      '− 2026-11-22T16:00:00.000Z flap cam-1  would no longer fire: mqtt a/b  d',
      '  … and 7 more (--limit)',
      '! flap: when, column 1: no such key',
      '≈ approximate: pipeline pets: not every decision of it is kept',
    ]);
  });

  test('that ended early, or failed on the way, is exit 1 and says why', async () => {
    const early = { ...BACKTEST, complete: false, error: 'more than 5000000 decisions', through: 'then' };
    const first = await entrance({ 'POST /v1/rules/test': { ok: true, tests: [], backtest: early } });
    const { code, out } = await brink(['rules', 'test', '--since', '1h'], first.env);
    expect([code, out[1]]).toEqual([1, 'not complete: more than 5000000 decisions; it came to then']);
    server?.close();
    const error = { code: 'E_STORAGE_CORRUPT', detail: 'ledger.db: malformed' };
    const second = await entrance({ 'POST /v1/rules/test': { ok: true, tests: [], backtest: null, error } });
    const failed = await brink(['rules', 'test', '--since', '1h'], second.env);
    expect([failed.code, failed.out.at(-1)]).toEqual([1, 'E_STORAGE_CORRUPT: ledger.db: malformed']);
  });

  test('runs the tests of a file laid over a configuration, without anything that runs', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'brink-rules-'));
    folders.push(folder);
    const file = join(folder, 'new.yaml');
    await writeFile(file, RULE);
    const at = ['--config', join(root, 'config'), '--models', join(root, 'models')];
    const { code, out } = await brink(['rules', 'test', file, ...at]);
    expect(out).toEqual([
      '✓ sure-cat: a sure cat opens',
      `✗ sure-cat: so does a dog  ${file}:9:9`,
      '    expected 1 action, came 0; missing: {"fate":"pending","command":{"name":"open"}}',
      '2 tests, 1 fails',
    ]);
    expect(code).toBe(1);
  });
});

const RULE = `rules:
  sure-cat:
    on: pets
    when: decision.label == "cat" && decision.score > 0.9
    then: [ { command: { device: feeder-1, name: open } } ]
    tests:
      - { name: a sure cat opens, given: [ { at_ms: 0, decision: { label: cat, score: 0.95 } } ],
          expect: [ { command: { name: open } } ] }
      - { name: so does a dog, given: [ { at_ms: 0, decision: { label: dog, score: 0.95 } } ],
          expect: [ { command: { name: open } } ] }
`;
