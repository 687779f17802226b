import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { outcome, startControl, until } from './harness.ts';

const CLIENTS = process.env['BRINK_TEST_SIZE'] === 'long' ? 10_000 : 1100;
const MB = 1024 * 1024;

/** Clients of /v1/events that read not one byte, in a process of their own. Prints a line when all have tried. */
const CROWD = `
const { connect } = require('node:net');
const [port, count] = process.argv.slice(1).map(Number);
let open = 0, next = 0;
function one() {
  if (next++ >= count) return;
  const socket = connect(port, '127.0.0.1');
  let told = false;
  const go = () => { if (told) return; told = true; if (++open === count) console.log('there'); one(); };
  socket.on('error', go).on('close', go);
  socket.on('connect', () => { socket.pause(); socket.write('GET /v1/events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n', go); });
}
for (let i = 0; i < 200; i++) one();
setInterval(() => {}, 1e6);
`;

test(`${CLIENTS} clients of /v1/events that never read: memory stays within bounds, and others are served`, async () => {
  await using control = await startControl();
  const { port } = control.service.addresses.http;
  let n = 0;
  const article = () => outcome(++n, { pipeline: 'article', received_ms: Date.now() });
  await control.commit(article());
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  const crowd: ChildProcess = spawn(process.execPath, ['-e', CROWD, String(port), String(CLIENTS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const said = once(crowd.stdout as NodeJS.ReadableStream, 'data');
    let there = false;
    void said.then(() => {
      there = true;
    });
    let asked = 0;
    const late = performance.now() + 50_000;
    // Others are answered meanwhile.
    while (!there && performance.now() < late) {
      expect((await control.get('/v1/decisions?limit=1')).status).toBe(200);
      asked += 1;
    }
    expect(there).toBe(true);
    expect(asked).toBeGreaterThan(0);
    const classes = Array.from({ length: 100 }, (_, i) => ({ label: `a label that is rather long ${i}`, score: 0.5 }));
    const result = { task: 'classification', label: 'dog', score: 0.5, classes } as const;
    for (let i = 0; i < 3; i++) await control.commit(...Array.from({ length: 50 }, () => ({ ...article(), result })));

    // A connection that was not there before.
    const fresh = await until('a new connection is served', () =>
      fetch(`${control.url}/v1/status`, { headers: { connection: 'close' } }).catch(() => undefined),
    );
    expect(fresh.status).toBe(200);
    const metrics = await (await fetch(`http://127.0.0.1:${control.service.addresses.ops.port}/metrics`)).text();
    expect(Number(/event_listeners\{[^}]*\} (\d+)/.exec(metrics)?.[1])).toBeLessThanOrEqual(100);
    expect((await control.get('/v1/events')).body).toMatchObject({ code: 'E_BUSY', status: 503 });
    expect((process.memoryUsage().rss - before) / MB).toBeLessThan(250);
  } finally {
    crowd.kill('SIGKILL');
  }
  await until('their places are free', async () => {
    const listener = await control.events('/v1/events');
    listener.close();
    return listener.status === 200;
  });
});
