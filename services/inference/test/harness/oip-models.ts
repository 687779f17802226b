import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Dimension, type Dtype, encode, graph, model, node, value } from '@brink/onnx';
import { loopGraph, nanGraph, pixelsGraph, WIDTH, writeModel } from './models.ts';

/** By their name in the graph. */
const TYPES: Record<string, Dtype> = {
  fp32: 'float32',
  fp64: 'float64',
  int8: 'int8',
  int16: 'int16',
  int32: 'int32',
  int64: 'int64',
  uint8: 'uint8',
  uint16: 'uint16',
  uint32: 'uint32',
  uint64: 'uint64',
  bool: 'bool',
};

/** Every input comes out again, called "<name>.out". */
function echoGraph(types: Record<string, Dtype>, shape: readonly Dimension[]): Uint8Array {
  const names = Object.entries(types);
  return encode(
    model(
      graph({
        inputs: names.map(([name, dtype]) => value(name, dtype, shape)),
        outputs: names.map(([name, dtype]) => value(`${name}.out`, dtype, shape)),
        nodes: names.map(([name]) => node('Identity', [name], [`${name}.out`])),
      }),
    ),
  );
}

/** Pixels and, beside them, the shape of what came: an output that does not lie row by row. */
function shapeGraph(): Uint8Array {
  return encode(
    model(
      graph({
        inputs: [value('x', 'float32', ['batch', 1, 1, WIDTH])],
        outputs: [value('y', 'float32', ['batch', WIDTH]), value('count', 'int64', ['dimensions'])],
        nodes: [node('Flatten', ['x'], ['y'], { axis: 1 }), node('Shape', ['x'], ['count'])],
      }),
    ),
  );
}

async function writeBare(dir: string, name: string, bytes: Uint8Array): Promise<void> {
  const folder = join(dir, name, '1');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'model.onnx'), bytes);
}

/** What the cases of the Open Inference Protocol are about; `loop` hangs on a pixel of 255. */
export async function writeOipModels(dir: string): Promise<{ passport: string }> {
  const passport = await writeModel(dir, { name: 'pixels', graph: pixelsGraph() });
  await writeModel(dir, { name: 'shapes', graph: shapeGraph() });
  await writeModel(dir, { name: 'nan', graph: nanGraph() });
  await writeModel(dir, { name: 'loop', graph: loopGraph() });
  await writeBare(dir, 'echo-types', echoGraph(TYPES, ['n']));
  await writeBare(dir, 'echo-half', echoGraph({ half: 'float16' }, ['n']));
  await writeBare(dir, 'echo-text', echoGraph({ text: 'string' }, ['n']));
  await writeBare(dir, 'echo-scalar', echoGraph({ rate: 'int64' }, []));
  await writeBare(dir, 'echo-two', echoGraph({ a: 'float32', b: 'int64' }, ['n']));
  return { passport };
}
