import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type Dtype, encode, graph, model, node, simpleCnnGraph, value } from '@brink/onnx';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunEnd } from '../src/scheduler/lane.ts';
import { eventually } from './harness/inference.ts';
import { loopGraph } from './harness/models.ts';
import { bytesOf, failure, type Runner, startRunner } from './harness/runner.ts';

const NEVER_MS = 60_000;

/** y = x, of any type. */
const identity = (dtype: Dtype, shape: (string | number)[]) =>
  encode(
    model(
      graph({
        inputs: [value('x', dtype, shape)],
        outputs: [value('y', dtype, shape)],
        nodes: [node('Identity', ['x'], ['y'])],
      }),
    ),
  );

/** Zeros of the shape that it is told: so much memory as is asked for. */
const zeros = () =>
  encode(
    model(
      graph({
        inputs: [value('n', 'int64', [2])],
        outputs: [value('y', 'float32', ['a', 'b'])],
        nodes: [node('ConstantOfShape', ['n'], ['y'])],
      }),
    ),
  );

const whole = (name: string, dtype: string, shape: number[], payload: Uint8Array) =>
  ({ session: '', batch: 0, heads: [{ name, dtype, shape }], payloads: [payload] }) as const;
const side = (n: number) => whole('n', 'int64', [2], bytesOf(BigInt64Array.of(BigInt(n), BigInt(n))));

/** Four pixels for `loopGraph`: a large one hangs. */
const loops = (pixel: number, rows = 1) =>
  ({
    session: '',
    batch: rows,
    heads: [{ name: 'x', dtype: 'float32', shape: [1, 1, 4] }],
    payloads: Array.from({ length: rows }, () => bytesOf(Float32Array.of(pixel, 0, 0, 0))),
  }) as const;

function outputOf(end: RunEnd) {
  if (end.kind === 'failed') throw end.error;
  const [head] = end.run.heads;
  const data = end.run.outputs.tensors.get('y')?.data;
  return { dtype: head?.dtype, shape: head?.shape, bytes: data && [...data] };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe('every element type', () => {
  let shared: Runner;
  beforeAll(async () => {
    shared = await startRunner(identity('float32', [1]));
  });
  afterAll(() => shared[Symbol.asyncDispose]());

  it.each([
    ['float32', Float32Array.of(1.5, -2)],
    ['float64', Float64Array.of(1.5, -2)],
    ['float16', Uint16Array.of(0x3c00, 0xc000)],
    ['uint8', Uint8Array.of(1, 255)],
    ['int8', Int8Array.of(1, -1)],
    ['uint16', Uint16Array.of(1, 65_535)],
    ['int16', Int16Array.of(1, -1)],
    ['uint32', Uint32Array.of(1, 2 ** 32 - 1)],
    ['int32', Int32Array.of(1, -1)],
    ['uint64', BigUint64Array.of(1n, 2n ** 64n - 1n)],
    ['int64', BigInt64Array.of(1n, -(2n ** 63n))],
    ['bool', Uint8Array.of(1, 0)],
    ['string', Buffer.from('\x02\x00\x00\x00hi\x06\x00\x00\x00\xe6\x97\xa5\xe6\x9c\xac', 'latin1')],
  ] as [Dtype, ArrayBufferView][])(
    '%s: comes out as it went in, in a batch, in rank 0 and empty',
    async (dtype, values) => {
      const { process } = shared;
      const bytes = bytesOf(values);
      await process.load(identity(dtype, ['n']), '');
      const ran = await process.run(whole('x', dtype, [2], bytes), NEVER_MS);
      expect(outputOf(ran)).toEqual({ dtype, shape: [2], bytes: [...bytes] });
      const none = await process.run(whole('x', dtype, [0], new Uint8Array()), NEVER_MS);
      expect(outputOf(none)).toEqual({ dtype, shape: [0], bytes: [] });
      const half = dtype === 'string' ? 6 : bytes.byteLength / 2;
      const parts = [bytes.subarray(0, half), bytes.subarray(half)];
      const rows = { session: '', batch: 2, heads: [{ name: 'x', dtype, shape: [] }], payloads: parts } as const;
      expect(outputOf(await process.run(rows, NEVER_MS))).toEqual({ dtype, shape: [2], bytes: [...bytes] });

      const { inputs } = await process.load(identity(dtype, []), 'native');
      expect(inputs).toEqual([expect.objectContaining({ name: 'x', dtype, shape: [] })]);
      const scalar = { ...whole('x', dtype, [], bytes.subarray(0, half)), session: 'native' } as const;
      expect(outputOf(await process.run(scalar, NEVER_MS))).toEqual({ dtype, shape: [], bytes: [...(parts[0] ?? [])] });
    },
  );

  it('an empty dimension goes through beside a full one', async () => {
    await using runner = await startRunner(identity('float32', ['n', 3]));
    const ran = await runner.process.run(whole('x', 'float32', [0, 3], new Uint8Array()), NEVER_MS);
    expect(outputOf(ran)).toEqual({ dtype: 'float32', shape: [0, 3], bytes: [] });
  });

  it('what ONNX Runtime has not for Node.js is refused by its name', async () => {
    await expect(startRunner(identity('bfloat16', [1]))).rejects.toMatchObject({
      code: 'E_UNSUPPORTED',
      detail: expect.stringContaining('bfloat16'),
    });
    await using runner = await startRunner(identity('float32', [1]));
    const end = await runner.process.run(whole('x', 'complex64', [1], new Uint8Array(8)), NEVER_MS);
    expect(end).toMatchObject({ kind: 'failed', fate: 'final', error: { code: 'E_UNSUPPORTED' } });
    expect(end).toMatchObject({ error: { detail: expect.stringMatching(/"x" is complex64.*bool/) } });
  });

  it('wrong types, ranks, sizes and names are E_SHAPE, and the next run goes on', async () => {
    await using runner = await startRunner(identity('float32', ['n', 2]));
    const eight = new Uint8Array(8);
    for (const wrong of [
      whole('x', 'int32', [1, 2], eight),
      whole('x', 'float32', [2], eight),
      whole('x', 'float32', [2, 1], eight),
      whole('x', 'float32', [1, 2], eight.subarray(4)),
      whole('z', 'float32', [1, 2], eight),
      { ...whole('x', 'float32', [1, 2], eight), payloads: [] },
    ]) {
      expect(failure(await runner.process.run(wrong, NEVER_MS))).toBe('E_SHAPE final');
    }
    expect(failure(await runner.process.run(whole('x', 'float32', [1, 2], eight), NEVER_MS))).toBeUndefined();
    expect(runner.downs).toEqual([]);
  });
});

describe('a run that takes too long', () => {
  it('is ended within 100 ms of its limit; what was behind it was not to blame; another runner is there within 2 s', async () => {
    await using runner = await startRunner(loopGraph());
    const limitMs = 300;
    const lateMs: number[] = [];
    const backMs: number[] = [];
    // The best of three: the machine may look away for a moment, the watch may not.
    for (let attempt = 0; attempt < 3; attempt++) {
      const startedAt = performance.now();
      const hung = runner.process.run(loops(255), limitMs);
      const behind = runner.process.run(loops(0), limitMs);
      expect(failure(await hung)).toBe('E_MODEL_TIMEOUT attempt');
      lateMs.push(performance.now() - startedAt - limitMs);
      expect(failure(await behind)).toBe('E_MODEL_CRASH again');
      await eventually('another runner', async () => runner.ups.length === attempt + 2);
      backMs.push((runner.ups.at(-1) ?? 0) - (runner.downs.at(-1)?.at ?? 0));
      expect(failure(await runner.process.run(loops(0), limitMs))).toBeUndefined();
    }
    expect(Math.min(...lateMs)).toBeLessThan(100);
    expect(Math.min(...lateMs)).toBeGreaterThan(-5);
    expect(Math.min(...backMs)).toBeLessThan(2000);
    expect(await runner.metrics()).toMatch(/brink_child_exits_total\{child="runner-it",reason="killed-deadline"\} 3/);
  });

  it('is ended as well where the whole process stands still', async () => {
    await using runner = await startRunner(loopGraph());
    process.kill(runner.process.pid ?? 0, 'SIGSTOP');
    expect(failure(await runner.process.run(loops(0), 200))).toBe('E_MODEL_TIMEOUT attempt');
    await eventually('another runner', async () => runner.ups.length === 2);
    expect(failure(await runner.process.run(loops(0), 1000))).toBeUndefined();
  });

  it('does not keep the process when the parent lets go of it', async () => {
    const runner = await startRunner(loopGraph());
    const { pid } = runner.process;
    const hung = runner.process.run(loops(255), NEVER_MS);
    await runner[Symbol.asyncDispose]();
    expect(failure(await hung)).toMatch(/E_MODEL_(CRASH|TIMEOUT) attempt/);
    expect(isAlive(pid ?? 0)).toBe(false);
  });

  it('is gone as well when the parent is killed with -9 meanwhile', async () => {
    const script = `
      import { startRunner, bytesOf } from ${JSON.stringify(new URL('./harness/runner.ts', import.meta.url).href)};
      import { loopGraph } from ${JSON.stringify(new URL('./harness/models.ts', import.meta.url).href)};
      const runner = await startRunner(loopGraph());
      const heads = [{ name: 'x', dtype: 'float32', shape: [1, 1, 4] }];
      const run = (pixel) =>
        runner.process.run({ session: '', batch: 1, heads, payloads: [bytesOf(Float32Array.of(pixel, 0, 0, 0))] }, 60_000);
      await run(0);
      void run(255);
      await new Promise((resolve) => setImmediate(resolve));
      process.stdout.write(String(runner.process.pid) + '\\n');`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const pid = Number(await new Promise((resolve) => parent.stdout.once('data', resolve)));
    expect(isAlive(pid)).toBe(true);
    parent.kill('SIGKILL');
    await eventually('the end of the runner', async () => !isAlive(pid));
  });

  it('five ends in a minute are too many', async () => {
    await using runner = await startRunner(loopGraph());
    for (let end = 1; end <= 5; end++) {
      await eventually('a runner', async () => runner.ups.length === end);
      process.kill(runner.process.pid ?? 0, 'SIGKILL');
      await eventually('its end', async () => runner.downs.length === end);
    }
    await eventually('that none comes', async () => runner.givenUp);
    expect(runner.ups).toHaveLength(5);
  });
});

const MIB = 2 ** 20;
const limited = process.platform === 'linux';

describe.skipIf(!limited)(`memory${limited ? '' : ' (skipped: only Linux limits it)'}`, () => {
  it('zeros of 200,000 × 200,000 are E_MODEL_OOM, and a fresh runner goes on without being a crash', async () => {
    await using runner = await startRunner(zeros(), { memoryBytesMax: 512 * MIB });
    expect(failure(await runner.process.run(side(100), NEVER_MS))).toBeUndefined();
    for (let time = 1; time <= 5; time++) {
      const huge = runner.process.run(side(200_000), NEVER_MS);
      expect(failure(await huge)).toBe('E_MODEL_OOM final');
      await eventually('a fresh runner', async () => runner.ups.length === time + 1);
      expect(failure(await runner.process.run(side(2000), NEVER_MS))).toBeUndefined();
    }
    expect(runner.downs.every(({ recycled }) => recycled)).toBe(true);
    expect(runner.givenUp).toBe(false);
  });

  it('is as much as the limit says, whichever way it is taken', async () => {
    await using runner = await startRunner(zeros(), { memoryBytesMax: 512 * MIB });
    expect(failure(await runner.process.run(side(4000), NEVER_MS))).toBeUndefined(); // 64 MB
    // 400 MB of ONNX Runtime's, and as much again to hand them out.
    const end = await runner.process.run(side(10_000), NEVER_MS);
    expect(failure(end)).toMatch(/E_MODEL_OOM (final|attempt)/);
    await eventually('another runner', async () => runner.ups.length === 2);
    expect(failure(await runner.process.run(side(100), NEVER_MS))).toBeUndefined();
  });

  it('a graph that needs too much to be loaded is refused with E_MODEL_OOM', async () => {
    // 33 MB of weights, which are there at least twice while they are read.
    const large = simpleCnnGraph(() => 0.5);
    await expect(startRunner(large, { memoryBytesMax: 60 * MIB })).rejects.toMatchObject({ code: 'E_MODEL_OOM' });
    await using enough = await startRunner(large, { memoryBytesMax: 256 * MIB });
    expect(enough.loaded.provider).toBe('cpu');
  });

  it('of the runner is seen', async () => {
    await using runner = await startRunner(zeros());
    expect(runner.process.memoryBytes).toBeGreaterThan(MIB);
  });
});

describe('ONNX Runtime', () => {
  it('is told to tell nobody anything, in words that it knows', async () => {
    await using runner = await startRunner(identity('float32', [1]));
    const environment = (await readFile(`/proc/${runner.process.pid}/environ`, 'utf8')).split('\0');
    expect(environment).toContain('ORT_DISABLE_TELEMETRY=1');
    const folder = join(dirname(createRequire(import.meta.url).resolve('onnxruntime-node')), '../bin/napi-v6');
    const library = await readFile(join(folder, process.platform, process.arch, 'libonnxruntime.so.1'));
    expect(library.includes('ORT_DISABLE_TELEMETRY')).toBe(true);
  });
});

describe('providers', () => {
  it('the first that can is used, and why it is not the first of all is said', async () => {
    await using runner = await startRunner(identity('float32', [1]), { providers: ['coreml', 'cpu'] });
    expect(runner.loaded).toMatchObject({ provider: 'cpu', fallback: expect.stringContaining('coreml: not part of') });
    await using plain = await startRunner(identity('float32', [1]));
    expect(plain.loaded).toMatchObject({ provider: 'cpu', fallback: '' });
  });

  it('strict: what was asked for, the reason and what there is are in the refusal', async () => {
    await expect(
      startRunner(identity('float32', [1]), { providers: ['cuda', 'cpu'], strict: true }),
    ).rejects.toMatchObject({
      code: 'E_MODEL_PROVIDER',
      detail: expect.stringMatching(/^"cuda" is asked for.*cuda: .+lists cpu/s),
    });
  });

  it('a graph that is none is E_MODEL_PARSE, an operator that is none E_MODEL_OP', async () => {
    await expect(startRunner(Uint8Array.of(1, 2, 3))).rejects.toMatchObject({ code: 'E_MODEL_PARSE' });
    const unknown = encode(
      model(
        graph({
          inputs: [value('x', 'float32', [1])],
          outputs: [value('y', 'float32', [1])],
          nodes: [node('NoSuchThing', ['x'], ['y'])],
        }),
      ),
    );
    await expect(startRunner(unknown)).rejects.toMatchObject({ code: 'E_MODEL_OP' });
  });
});
