import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import type { Passport } from '@brink/protocol';

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Pictures of 4 × 1 grey pixels in, four scores out: the pixels themselves. */
export const WIDTH = 4;

const input = (batch: string | number = 'batch') => value('x', 'float32', [batch, 1, 1, WIDTH]);
const output = (batch: string | number = 'batch') => value('y', 'float32', [batch, WIDTH]);
const shape = () => tensor('shape', [2], BigInt64Array.of(-1n, BigInt(WIDTH)));

/** The scores are the pixels. */
export function pixelsGraph(batch: string | number = 'batch'): Uint8Array {
  return encode(
    model(
      graph({
        inputs: [input(batch)],
        outputs: [output(batch)],
        tensors: [shape()],
        nodes: [node('Reshape', ['x', 'shape'], ['y'])],
      }),
    ),
  );
}

/** The scores are log(pixel − 100): NaN for pixels below 100. */
export function nanGraph(): Uint8Array {
  return encode(
    model(
      graph({
        inputs: [input()],
        outputs: [output()],
        tensors: [shape(), tensor('hundred', [1], Float32Array.of(100))],
        nodes: [
          node('Sub', ['x', 'hundred'], ['less']),
          node('Log', ['less'], ['log']),
          node('Reshape', ['log', 'shape'], ['y']),
        ],
      }),
    ),
  );
}

/** Loops 2^(largest pixel of the batch / 5) times: zeros run at once, 255 for ever. */
export function loopGraph(): Uint8Array {
  const body = graph({
    name: 'body',
    inputs: [value('i', 'int64', []), value('go', 'bool', []), value('carried', 'float32', ['batch', 1, 1, WIDTH])],
    outputs: [value('go.out', 'bool', []), value('carried.out', 'float32', ['batch', 1, 1, WIDTH])],
    nodes: [node('Identity', ['go'], ['go.out']), node('Sin', ['carried'], ['carried.out'])],
  });
  return encode(
    model(
      graph({
        inputs: [input()],
        outputs: [output()],
        tensors: [shape(), tensor('two', [], Float32Array.of(2)), tensor('fifth', [], Float32Array.of(0.2))],
        nodes: [
          node('ReduceMax', ['x'], ['max'], { keepdims: 0 }),
          node('Mul', ['max', 'fifth'], ['power']),
          node('Pow', ['two', 'power'], ['trips.float']),
          node('Cast', ['trips.float'], ['trips'], { to: 7 }),
          node('Loop', ['trips', '', 'x'], ['looped'], { body }),
          node('Reshape', ['looped', 'shape'], ['y']),
        ],
      }),
    ),
  );
}

/** Asks for memory by the first pixel: zeros of (pixel · 1000)² float32, so that 200 is 160 GB. Scores are the pixels. */
export function hungryGraph(): Uint8Array {
  return encode(
    model(
      graph({
        inputs: [input()],
        outputs: [output()],
        tensors: [
          shape(),
          tensor('first', [1], BigInt64Array.of(0n)),
          tensor('second', [1], BigInt64Array.of(1n)),
          tensor('axis', [1], BigInt64Array.of(1n)),
          tensor('thousand', [], Float32Array.of(1000)),
        ],
        nodes: [
          node('Reshape', ['x', 'shape'], ['flat']),
          node('Slice', ['flat', 'first', 'second', 'axis'], ['pixels']),
          node('ReduceMax', ['pixels'], ['pixel'], { keepdims: 0 }),
          node('Mul', ['pixel', 'thousand'], ['long']),
          node('Cast', ['long'], ['side'], { to: 7 }),
          node('Unsqueeze', ['side', 'first'], ['side.one']),
          node('Concat', ['side.one', 'side.one'], ['sides'], { axis: 0 }),
          node('ConstantOfShape', ['sides'], ['zeros']),
          node('ReduceSum', ['zeros'], ['nothing'], { keepdims: 0 }),
          node('Add', ['flat', 'nothing'], ['y']),
        ],
      }),
    ),
  );
}

/** Looks a class up by the first pixel: a pixel beyond 3 makes the run fail. */
export function lookupGraph(): Uint8Array {
  return encode(
    model(
      graph({
        inputs: [input()],
        outputs: [output()],
        tensors: [
          tensor('rows', [4, WIDTH], Float32Array.of(9, 0, 0, 0, 0, 9, 0, 0, 0, 0, 9, 0, 0, 0, 0, 9)),
          tensor('first', [], BigInt64Array.of(0n)),
          shape(),
        ],
        nodes: [
          node('Reshape', ['x', 'shape'], ['flat']),
          node('Gather', ['flat', 'first'], ['pixel'], { axis: 1 }),
          node('Cast', ['pixel'], ['index'], { to: 7 }),
          node('Gather', ['rows', 'index'], ['y'], { axis: 0 }),
        ],
      }),
    ),
  );
}

export interface ModelFolder {
  readonly name: string;
  readonly version?: number;
  readonly graph: Uint8Array;
  readonly passport?: (passport: Passport) => unknown;
  readonly files?: Readonly<Record<string, Uint8Array | string>>;
}

const LABELS = ['zero', 'one', 'two', 'three'];

/** Writes `models/<name>/<version>/` for a graph of four grey pixels. @returns the sha256 of its passport */
export async function writeModel(dir: string, o: ModelFolder): Promise<string> {
  const version = o.version ?? 1;
  const place = join(dir, o.name, String(version));
  const isNew = !existsSync(place);
  // Whole at once where it is new, as `brink models add` does it: who looks four times a second could see half of it twice.
  const folder = isNew ? join(dir, `.new-${o.name}-${version}`) : place;
  const contents: Record<string, Uint8Array | string> = {
    'model.onnx': o.graph,
    'labels.txt': LABELS.join('\n'),
    'labels.zh.txt': '零\n一\n二\n三\n',
    ...o.files,
  };
  await mkdir(join(folder, 'golden'), { recursive: true });
  const files = [];
  for (const [path, content] of Object.entries(contents)) {
    await writeFile(join(folder, path), content);
    files.push({ path, sha256: sha256(Buffer.from(content)) });
  }
  const passport: Passport = {
    passport: 1,
    name: o.name,
    version,
    task: 'classification',
    files,
    inputs: [
      {
        tensor: 'x',
        image: {
          width: WIDTH,
          height: 1,
          fit: 'stretch',
          pad: 0,
          kernel: 'nearest',
          colour: 'grey',
          layout: 'nchw',
          scale: 1,
          mean: [0],
          std: [1],
        },
      },
    ],
    state: [],
    batch_max: 8,
    output: {
      decoder: 'classification',
      tensors: { logits: 'y' },
      activation: 'softmax',
      labels: { file: 'labels.txt', zh: 'labels.zh.txt' },
      score_min: 0,
      top: 5,
    },
    golden: [],
  };
  const bytes = Buffer.from(JSON.stringify(o.passport === undefined ? passport : o.passport(passport)));
  await writeFile(join(folder, 'model.json'), bytes);
  if (isNew) {
    await mkdir(join(dir, o.name), { recursive: true });
    await rename(folder, place);
  }
  return sha256(bytes);
}
