import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Status } from '@brink/protocol';
import { createTestClock } from '@brink/runtime';
import { expect, test } from 'vitest';
import { explainProblems, readyOrNot } from './health.ts';
import type { ProcessPlan } from './plan.ts';

const services = [
  {
    service: 'inference',
    instance: 'i',
    state: 'online',
    models: [
      { name: 'mine', version: 2, state: 'failed', reason: 'E_MODEL_GOLDEN: gives "frog"' },
      { name: 'fine', version: 1, state: 'ready' },
    ],
  },
] as Status['services'];

test('a problem that names a model says why the model does not serve', () => {
  expect(explainProblems(['gateway: inference does not serve "mine"', 'control: x'], services)).toEqual([
    'gateway: inference does not serve "mine": version 2 failed, E_MODEL_GOLDEN: gives "frog"',
    'control: x',
  ]);
  expect(explainProblems(['control: x'], services)).toEqual([
    'control: x',
    'model mine: version 2 failed, E_MODEL_GOLDEN: gives "frog"',
  ]);
});

test('models that are still loading are one line for all of them; one that failed keeps its own', () => {
  const [inference] = services;
  const models = [
    ...(inference?.models ?? []),
    ...['cats', 'dogs'].map((name) => ({ name, version: 1, state: 'loading' as const })),
  ];
  const problems = ['cats', 'dogs', 'mine'].map((name) => `gateway: inference does not serve "${name}"`);
  const told = explainProblems(
    [...problems, 'inference: model mel 1 is loading', 'inference: model cats 2 is failed: x'],
    [{ ...inference, models } as never],
  );
  expect(told).toEqual([
    '3 models are loading: cats, dogs, mel',
    'gateway: inference does not serve "mine": version 2 failed, E_MODEL_GOLDEN: gives "frog"',
    'inference: model cats 2 is failed: x',
  ]);
});

/** Every service and control's entrance in one server: they answer, and this keeps the gateway from being ready. */
async function fleet(problem: string) {
  const server = createServer(({ url }, response) => {
    const body = url === '/readyz' ? { problems: [problem] } : url === '/livez' ? {} : { services };
    response.writeHead(url === '/readyz' ? 503 : 200).end(JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const http = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { http, group: [{ plan: { name: 'gateway', ops: http } as ProcessPlan }], [Symbol.dispose]: close };
}

test('what is missing is told when readiness takes too long, and not before', async () => {
  using served = await fleet('inference does not serve "mine"');
  const clock = createTestClock();
  let told: string[] | undefined;
  const never = new Promise<void>(() => {});
  const missing = readyOrNot(never, served, { clock, signal: new AbortController().signal });
  void missing.then((lines) => (told = lines));
  await clock.advance(9000);
  expect(told).toBeUndefined();
  await clock.advance(2000);
  expect(await missing).toEqual([
    'gateway: inference does not serve "mine": version 2 failed, E_MODEL_GOLDEN: gives "frog"',
  ]);
});

test('nothing is missing where all become ready in time', async () => {
  using served = await fleet('x');
  const o = { clock: createTestClock(), signal: new AbortController().signal };
  expect(await readyOrNot(Promise.resolve(), served, o)).toEqual([]);
});
