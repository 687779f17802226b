import { BrinkError } from '@brink/protocol';
import { readCbor } from './cbor.ts';
import { readCsv } from './csv.ts';
import { parseJson } from './json.ts';
import { type Measured, measuredOf } from './measured.ts';
import { type RawEncoding, readRaw } from './raw.ts';
import { sniff } from './sniff.ts';

const BYTES_MAX = 16 * 1024 * 1024;

/**
 * A signal in JSON, CBOR or CSV, as its bytes tell; raw numbers where `encoding` says so, for their bytes tell nothing.
 * @throws BrinkError E_TYPE where it is none of them; E_DECODE, E_SHAPE what is wrong where; E_TOO_LARGE
 */
export function readSignal(bytes: Uint8Array, encoding?: RawEncoding): Measured {
  if (bytes.length > BYTES_MAX) {
    throw new BrinkError('E_TOO_LARGE', `${bytes.length} bytes of a signal; expected at most ${BYTES_MAX}`);
  }
  if (encoding !== undefined) {
    return { rateHz: undefined, samplesOf: ({ length }) => readRaw(bytes, encoding, length) };
  }
  const type = sniff(bytes);
  if (type === 'application/json') return measuredOf(parseJson(bytes));
  if (type === 'text/plain') return readCsv(bytes);
  if (type === 'application/octet-stream' && maybeCbor(bytes)) return measuredOf(readCbor(bytes));
  throw new BrinkError('E_TYPE', `the bytes look like ${type}; expected a signal in JSON, CBOR or CSV`);
}

/** An array, a map or a tag; no text begins with these bytes. */
const maybeCbor = ([first = 0]: Uint8Array) => first >= 0x80 && first <= 0xdb;
