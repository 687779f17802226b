import type { OutputSpec } from '@brink/protocol';
import { createClassification } from './classification.ts';
import type { Decode, DecoderOptions } from './decode.ts';

/** Adding a decoder is adding a file and a line here (and its name to OutputSchema). */
const DECODERS: Readonly<Record<OutputSpec['decoder'], (o: DecoderOptions) => Decode>> = {
  classification: createClassification,
};

/** @throws BrinkError E_PASSPORT where the passport's output and the decoder do not go together */
export function createDecoder(options: DecoderOptions): Decode {
  return DECODERS[options.output.decoder](options);
}
