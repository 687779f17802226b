// The thread that reads and writes long messages of the Open Inference Protocol.

import { parentPort } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol';
import { CONVERSIONS, type ConversionName, type InputOf } from './conversions.ts';
import { portable } from './portable.ts';

export type Conversion = { [N in ConversionName]: { name: N; input: InputOf<N> } }[ConversionName];
export type Converted = { readonly output: unknown } | { readonly code: string; readonly detail: string };

const port = parentPort;
if (port === null) throw new BrinkError('E_INTERNAL', 'converter-worker.ts is started by converter.ts');
port.on('message', ({ name, input }: Conversion) => {
  const transfer = new Set<ArrayBuffer>();
  let said: Converted;
  try {
    said = { output: portable((CONVERSIONS[name] as (of: typeof input) => unknown)(input), transfer) };
  } catch (reason) {
    transfer.clear();
    const { code, detail } = BrinkError.from(reason);
    said = { code, detail };
  }
  port.postMessage(said, [...transfer]);
});
