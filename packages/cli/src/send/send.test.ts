import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createBroker } from '@brink/broker';
import { createMqtt, createRegistry, silentLogger, systemClock } from '@brink/runtime';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { run } from '../program.ts';

// The command line against a real broker, with somebody who hears everything and may speak as the gateway.

const root = resolve(import.meta.dirname, '../../../..');
const GATEWAY = { username: 'gateway', role: 'gateway', password: 'g' } as const;
const CONTROL = { username: 'control', role: 'control', password: 'c' } as const;

async function startBroker(o: { port?: number; frameBytesMax?: number } = {}) {
  const broker = createBroker(
    { host: '127.0.0.1', port: 0, anonymous: 'loopback', users: [GATEWAY, CONTROL], ...o },
    { logger: silentLogger, clock: systemClock, registry: createRegistry('broker') },
  );
  await broker.start(AbortSignal.timeout(5000));
  onTestFinished(() => broker.stop());
  return broker;
}

async function scene(o: { frameBytesMax?: number } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'brink-send-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const broker = await startBroker(o);
  const frames: { name: string; text: string }[] = [];
  const statuses: string[] = [];
  const heard: (() => void)[] = [];
  const ear = createMqtt(
    { url: broker.url, clientId: 'ear', clean: false, username: 'gateway', password: 'g', baseMs: 5, capMs: 50 },
    { logger: silentLogger, clock: systemClock, random: Math.random },
  );
  const tell = () => {
    for (const one of heard) one();
  };
  ear.subscribe('brink/+/up/frames/#', { qos: 1 }, ({ topic, payload }) => {
    frames.push({ name: topic.split('/').at(-1) ?? '', text: payload.toString('latin1') });
    tell();
  });
  ear.subscribe('brink/+/up/status', { qos: 1 }, ({ payload }) => {
    statuses.push(JSON.parse(payload.toString()).state);
    tell();
  });
  await ear.start(AbortSignal.timeout(5000));
  onTestFinished(() => ear.stop());
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  return {
    folder,
    broker,
    ear,
    frames,
    statuses,
    onHeard: (tell: () => void) => heard.push(tell),
    seqs: () => frames.map(({ name }) => Number(name.split('-')[1])),
    write(name: string, bytes: string | Uint8Array) {
      writeFileSync(join(folder, name), bytes);
      return join(folder, name);
    },
    async send(args: string[], stdin: AsyncIterable<Uint8Array> = empty(), signal = stop.signal) {
      const [out, err]: [string[], string[]] = [[], []];
      const terminal = {
        line: (text: string) => out.push(text),
        note: (text: string) => err.push(text),
        colour: false,
      };
      const env = { BRINK_MQTT_URL: broker.url, BRINK_URL: 'http://127.0.0.1:1' };
      const argv = ['send', 'dev-1', 'front', ...args];
      const code = await run(argv, { terminal, env, signal, root, stdin: () => stdin });
      return { code, out: out.join('\n'), err: err.join('\n'), summary: out.flatMap(summaryIn)[0] };
    },
  };
}

const summaryIn = (line: string) => {
  const value = line.startsWith('{') ? JSON.parse(line) : {};
  return value.event === 'sent' ? [value] : [];
};

async function* empty(): AsyncGenerator<Uint8Array> {}
async function* words(...all: (string | Promise<string>)[]): AsyncGenerator<Uint8Array> {
  for (const one of all) yield Buffer.from(await one, 'latin1');
}

/** Markers of a JPEG with a byte to tell it by. */
const jpeg = (n: number) => Buffer.from(`ffd8ffda0002${n.toString(16).padStart(2, '0')}ffd9`, 'hex').toString('latin1');

describe('files at a pace', () => {
  test('of a folder go out by name, in their order, as often as asked, under one boot', async () => {
    const { folder, write, send, frames, seqs, statuses } = await scene();
    for (const name of ['10.txt', '2.txt', '.hidden']) write(name, name);
    const { code, summary } = await send([folder, '--fast', '--repeat', '2', '--json']);
    expect(code).toBe(0);
    expect(frames.map(({ text }) => text)).toEqual(['2.txt', '10.txt', '2.txt', '10.txt']);
    expect(seqs()).toEqual([1, 2, 3, 4]);
    expect(summary).toMatchObject({ frames: 4, left_out: 0, last: 4, boot: frames[0]?.name.split('-')[0] });
    // It only sends in the name of the device: that may be connected itself, and knows better whether it is online.
    expect(statuses).toEqual([]);
  });

  test('rows of stdin go out as they come', async () => {
    const { send, frames, onHeard } = await scene();
    const second = Promise.withResolvers<string>();
    onHeard(() => second.resolve('3\n4\n5\n'));
    const { code } = await send(['-', '--rows', '2'], words('ax\n1\n2\n', second.promise));
    expect(code).toBe(0);
    expect(frames.map(({ text }) => text)).toEqual(['ax\n1\n2\n', 'ax\n3\n4\n', 'ax\n5\n']);
  });

  test('lines are frames, where that is asked for', async () => {
    const { send, frames } = await scene();
    await send(['-', '--lines'], words('open the door\n\nclo', 'se it\r\n', 'wait'));
    expect(frames.map(({ text }) => text)).toEqual(['open the door', 'close it', 'wait']);
  });

  test('a broker that goes and comes back costs no frame, and no number', async () => {
    const { broker, send, onHeard } = await scene();
    const port = Number(new URL(broker.url).port);
    const gone = Promise.withResolvers<string>();
    onHeard(() => gone.resolve(''));
    const back = gone.promise.then(async () => {
      await broker.stop();
      await startBroker({ port });
      return '2\n';
    });
    const { code, summary } = await send(
      ['-', '--rows', '1', '--wait-ms', '10000', '--json'],
      words('1\n', back, '3\n'),
    );
    expect(code).toBe(0);
    expect(summary).toMatchObject({ frames: 3, last: 3 });
  });

  test('a frame that the broker does not want is given up after some tries, with what it may be', async () => {
    const { write, send } = await scene({ frameBytesMax: 1000 });
    const { code, err } = await send([write('big', Buffer.alloc(100_000, 1)), '--fast']);
    expect(code).toBe(1);
    expect(err).toMatch(/E_BROKER: .*big: the connection ended 4 times under it; is it \(100000 bytes\) larger/);
  });
});

describe('a bridge', () => {
  test('sends the pictures of a stream, and says that the camera is online, then offline', async () => {
    const { send, frames, statuses } = await scene();
    const pictures = words(...[1, 2, 3].map((n) => `--frame\r\n\r\n${jpeg(n)}`));
    const { code, summary } = await send(['--mjpeg', '-', '--json'], pictures);
    expect(code).toBe(0);
    expect(summary.frames + summary.left_out).toBe(3);
    expect(frames.at(-1)?.text).toBe(jpeg(3));
    await vi.waitFor(() => expect(statuses).toEqual(['online', 'offline']), 5000);
  });

  test('has the newest picture sent when the broker is slow, and counts the others', async () => {
    const { send, frames } = await scene();
    // All of them are there before the first one is acknowledged.
    const { code, summary } = await send(
      ['--mjpeg', '-', '--json'],
      words(Array.from({ length: 200 }, (_, n) => jpeg(n)).join('')),
    );
    expect(code).toBe(0);
    expect(summary.left_out).toBeGreaterThan(150);
    expect(summary.frames + summary.left_out).toBe(200);
    expect(frames.at(-1)?.text).toBe(jpeg(199));
  });

  test('ends with exit 1 where there is no picture, and where none comes any more', async () => {
    const { send } = await scene();
    expect(await send(['--mjpeg', '-'], words('no film'))).toMatchObject({
      code: 1,
      err: expect.stringMatching(/E_TYPE: 7 bytes and no whole JPEG/),
    });
    const never = new Promise<string>(() => {});
    expect(await send(['--mjpeg', '-', '--idle-ms', '50'], words(jpeg(1), never))).toMatchObject({
      code: 1,
      err: expect.stringMatching(/E_TIMEOUT: nothing came for 50 ms/),
    });
  });

  test('ends at once, and well, when it is told to', async () => {
    const { send, onHeard } = await scene();
    const stop = new AbortController();
    onHeard(() => stop.abort());
    const never = new Promise<string>(() => {});
    const { code, err } = await send(['--mjpeg', '-'], words(jpeg(1), never), stop.signal);
    expect(code).toBe(0);
    expect(err).toMatch(/1 frame \(9 bytes\)/);
  });
});

describe('snapshots', () => {
  async function camera(answer: RequestListener): Promise<string> {
    const server = createServer(answer).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/capture`;
  }

  test('are fetched again and again, with the password of a file', async () => {
    const { write, send, frames } = await scene();
    let asked = 0;
    const url = await camera((request, response) => {
      const known = request.headers.authorization === `Basic ${Buffer.from('eye:secret').toString('base64')}`;
      asked += 1;
      response.writeHead(known ? 200 : 401, { 'content-type': 'image/jpeg' }).end(jpeg(asked), 'latin1');
    });
    const auth = write('camera.auth', 'eye:secret\n');
    const { code } = await send(['--snapshot', url, '--every', '10', '--count', '3', '--auth-file', auth]);
    expect(code).toBe(0);
    expect(frames.map(({ text }) => text)).toEqual([1, 2, 3].map(jpeg));
  });

  const troubles: [string, RegExp, RequestListener][] = [
    [
      'asks for a password',
      /E_UNAVAILABLE: the camera answers HTTP 401; give --auth-file/,
      (_, r) => r.writeHead(401).end(),
    ],
    [
      'answers a page',
      /E_TYPE: the camera answers text\/html/,
      (_, r) => r.writeHead(200, { 'content-type': 'text/html' }).end('<p>'),
    ],
    [
      'answers a stream',
      /E_TYPE: the camera answers multipart\/x-mixed-replace; .* a stream goes into --mjpeg/,
      (_, r) => r.writeHead(200, { 'content-type': 'multipart/x-mixed-replace;boundary=x' }).write('--x\r\n'),
    ],
    ['does not answer', /E_TIMEOUT: no picture within 100 ms/, () => {}],
    ['stops in the middle', /E_TIMEOUT: no picture within 100 ms/, (_, r) => r.writeHead(200).write(jpeg(1), 'latin1')],
    [
      'sends without end',
      /E_TOO_LARGE: the picture has more than 16777216 bytes/,
      (_, r) => r.end(Buffer.alloc(17 * 1024 * 1024)),
    ],
  ];
  test.each(troubles)('of a camera that %s are told once, and go on when it is well', async (_, said, bad) => {
    const { send, frames } = await scene();
    // A busy machine must not make a time-out of another trouble.
    const ms = said.source.includes('E_TIMEOUT') ? '100' : '5000';
    let asked = 0;
    const url = await camera((request, response) => {
      asked += 1;
      if (asked <= 2) bad(request, response);
      else response.writeHead(200, { 'content-type': 'image/jpeg' }).end(jpeg(7), 'latin1');
    });
    const { code, err } = await send(['--snapshot', url, '--every', '10', '--count', '1', '--timeout-ms', ms]);
    expect(code).toBe(0);
    expect(err).toMatch(said);
    expect(err.match(/trying again/g)).toHaveLength(1);
    expect(err).toContain('the camera answers again');
    expect(frames.map(({ text }) => text)).toEqual([jpeg(7)]);
  });
});

describe('kept frames', () => {
  test('are sent until there is a receipt; what has none stays in the folder for the next time', async () => {
    const { folder, ear, send, frames, onHeard } = await scene();
    const keep = ['--keep', join(folder, 'out')];
    const stop = new AbortController();
    const sent = () => frames.some(({ name }) => name.endsWith('-3'));
    onHeard(() => sent() && stop.abort());
    const first = await send(['-', '--rows', '1', '--json', ...keep], words('1\n2\n3\n'), stop.signal);
    expect(first.summary).toMatchObject({ frames: 3, waiting: 3 });
    expect(first.err).toMatch(/3 frames wait in .*; run again to send them\. .*delivery: durable/);

    const { boot } = first.summary;
    const receipt = { boot, through: 3, rejected: [{ seq: 2, code: 'E_TYPE' }], busy_ms: 0 };
    const before = frames.length;
    onHeard(() => {
      if (frames.length < before + 3) return;
      void ear.publish('brink/dev-1/down/receipts/front', JSON.stringify(receipt), { qos: 1 });
    });
    const second = await send(['--json', ...keep]);
    // One of them was refused by name: all have their answer, and not all is well.
    expect(second).toMatchObject({
      code: 1,
      summary: { frames: 0, waiting: 0, rejected: [{ boot, seq: 2, code: 'E_TYPE' }] },
    });
    expect(frames.slice(before).map(({ name }) => name)).toEqual([1, 2, 3].map((seq) => `${boot}-${seq}`));
  });
});

test('kept frames lie in the folder before there is a broker, also where control is away too', async () => {
  const { folder, broker, send } = await scene();
  await broker.stop();
  const stop = new AbortController();
  // Who asks for more has kept what there was.
  async function* measured() {
    yield Buffer.from('1\n2\n3\n');
    stop.abort();
  }
  const keep = ['--keep', join(folder, 'out'), '--watch', '--json'];
  const { summary, err } = await send(['-', '--rows', '1', ...keep], measured(), stop.signal);
  expect(summary).toMatchObject({ frames: 3, waiting: 3 });
  expect(err).toMatch(/decisions are not shown: nothing answers at/);
  expect(err).toMatch(/3 frames wait in .*out; run again to send them$/m);
});

test('without watching, what control knows to be refused, dead or unwanted is exit 1', async () => {
  const { broker, folder, write } = await scene();
  const file = write('no.png', 'no picture');
  let answers: (path: string, name: { boot: string; seq: number }) => object[] = () => [];
  let name = { boot: '', seq: 0 };
  const [said, quiet] = [[] as string[], () => {}];
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ items: answers(new URL(request.url ?? '', 'http://h').pathname, name) }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const ear = createMqtt(
    { url: broker.url, clientId: 'ear-2', clean: true, username: 'control', password: 'c' },
    { logger: silentLogger, clock: systemClock, random: Math.random },
  );
  ear.subscribe('brink/+/up/frames/#', { qos: 1 }, ({ topic }) => {
    const [boot = '', seq] = topic.split('/').at(-1)?.split('-') ?? [];
    name = { boot, seq: Number(seq) };
  });
  await ear.start(AbortSignal.timeout(5000));
  onTestFinished(() => ear.stop());
  const env = {
    BRINK_MQTT_URL: broker.url,
    BRINK_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  };
  const terminal = { line: quiet, note: (text: string) => said.push(text), colour: false };
  const send = (...more: string[]) =>
    run(['send', 'dev-1', 'front', file, '--fast', ...more], {
      terminal,
      env,
      signal: AbortSignal.timeout(9000),
      root,
    });
  const decision = (outcome: string, { boot, seq }: typeof name) => ({
    ...{ id: 'x', at_ms: 0, device: 'dev-1', stream: 'front', pipeline: 'pets', outcome, timings: {} },
    ...{ frames: { boot, first: seq, last: seq }, error: { code: 'E_SHAPE', detail: 'no' } },
  });
  answers = (path, sent) => (path === '/v1/decisions' && sent.seq > 0 ? [decision('dead', sent)] : []);
  expect(await send()).toBe(1);
  answers = (path, sent) =>
    path === '/v1/dead' && sent.seq > 0 ? [{ ...sent, error: { code: 'E_IMAGE_TYPE', detail: 'text' } }] : [];
  expect(await send()).toBe(1);
  expect(said.join('\n')).toMatch(/frame 1 was refused: E_IMAGE_TYPE: text/);
  answers = (path) => (path === '/v1/discovered' ? [{ device: 'dev-1', stream: 'front' }] : []);
  expect(await send()).toBe(1);
  expect(said.join('\n')).toMatch(/no stream of the configuration takes dev-1\/front/);
  // Kept frames do not wait for receipts that nobody will give: the limit for those is longer than this one.
  const beganMs = performance.now();
  expect(await send('--keep', join(folder, 'out'))).toBe(1);
  expect(performance.now() - beganMs).toBeLessThan(8000);
  expect(said.join('\n')).toMatch(/1 frame waits in .*out; run again to send it\. There is no receipt/);
  // And the control: what was decided is well.
  answers = (path, sent) =>
    path === '/v1/decisions' && sent.seq > 0 ? [{ ...decision('decided', sent), label: 'cat' }] : [];
  expect(await send()).toBe(0);
});

test('an address that is none, and lines that were taken for names, are told as that', async () => {
  const { send } = await scene();
  const url = await send(['-', '--rows', '1', '--mqtt-url', '127.0.0.1'], words('1\n'));
  expect(url.err).toMatch(/"127.0.0.1" is no address of a broker; expected mqtt:\/\/host:port/);
  const rows = await send(['-', '--rows', '1'], words('1,2,3,4,5,x\n'));
  expect([url.code, rows.code]).toEqual([1, 1]);
  expect(rows.err).toMatch(/"1,2,3,4,5,x": not all of it is numbers, so it is taken for the names of columns/);
});

test.each([
  [[]],
  [['--mjpeg', '-', 'cat.jpg']],
  [['--mjpeg', '-', '--snapshot', 'http://h/']],
  [['--snapshot', 'ftp://h/']],
  [['--snapshot', 'http://me:secret@h/']],
  [['a.wav', '--chunk', '100', '--rows', '5']],
  [['a.wav', '--fast', '--fps', '5']],
  [['a.wav', '--at']],
  [['a.wav', '--pcm', 's16']],
  [['a.wav', '--pcm', 's16:8000']],
  [['-', '-', '--fps', '1']],
  [['-', '--repeat', '2']],
  [['a.jpg', '--http', '--watch']],
])('%j is bad usage', async (args) => {
  const err: string[] = [];
  const terminal = { line: () => {}, note: (text: string) => err.push(text), colour: false };
  const argv = ['send', 'cam-9', 'front', ...args];
  expect(await run(argv, { terminal, env: {}, signal: AbortSignal.timeout(5000), root })).toBe(2);
  expect(err.join('\n')).toMatch(/^error: /);
});
