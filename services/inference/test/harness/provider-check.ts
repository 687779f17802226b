// Run by test/containers/webgpu.test.ts inside a container: one model through the runner on the providers that the arguments name,
// beside the CPU. Prints one line of JSON.
//   node provider-check.ts [--strict] [--double] webgpu cpu
// double: the model computes in double precision, which graphics processors do not.
import { encode, graph, model, node, simpleCnnGraph, value } from '@brink/onnx';
import { BrinkError } from '@brink/protocol';
import type { RunRequest } from '../../src/scheduler/lane.ts';
import { bytesOf, type Runner, startRunner } from './runner.ts';

const BATCH = 3;
const SHAPE = [3, 128, 128];

/** Park and Miller's generator: the same numbers everywhere. */
function seeded(): () => number {
  let state = 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

async function logits({ process, loaded }: Runner): Promise<Float32Array> {
  const random = seeded();
  const [input] = loaded.inputs;
  const pixels = Float32Array.from({ length: BATCH * 3 * 128 * 128 }, () => random() * 2 - 1);
  const request: RunRequest = {
    session: '',
    batch: BATCH,
    heads: [{ name: input?.name ?? '', dtype: 'float32', shape: SHAPE }],
    payloads: [bytesOf(pixels)],
  };
  const end = await process.run(request, 60_000);
  if (end.kind === 'failed') throw end.error;
  const [data] = [...end.run.outputs.tensors.values()].map((tensor) => tensor.data);
  return new Float32Array(Uint8Array.from(data ?? []).buffer);
}

function doubleGraph(): Uint8Array {
  const shape = ['batch', ...SHAPE];
  const nodes = [
    node('Relu', ['x'], ['positive']),
    node('Cast', ['positive'], ['precise'], { to: 11 }),
    node('Mul', ['precise', 'precise'], ['square']),
    node('Cast', ['square'], ['y'], { to: 1 }),
  ];
  return encode(
    model(graph({ inputs: [value('x', 'float32', shape)], outputs: [value('y', 'float32', shape)], nodes })),
  );
}

const flags = ['--strict', '--double'];
const strict = process.argv.includes('--strict');
const providers = process.argv.slice(2).filter((argument) => !flags.includes(argument));
const bytes = process.argv.includes('--double') ? doubleGraph() : simpleCnnGraph(seeded());
let answer: object;
try {
  await using asked = await startRunner(bytes, { providers, strict });
  await using plain = await startRunner(bytes);
  const [theirs, ours] = [await logits(asked), await logits(plain)];
  const difference = ours.reduce((most, value, at) => Math.max(most, Math.abs(value - (theirs[at] ?? Number.NaN))), 0);
  const { provider, fallback } = asked.loaded;
  answer = {
    provider,
    fallback,
    values: ours.length,
    difference,
    largest: ours.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
  };
} catch (reason) {
  const { code, detail } = BrinkError.from(reason);
  answer = { code, detail };
}
process.stdout.write(`${JSON.stringify(answer)}\n`);
