/** What can be told of a ModelInferRequest without reading its tensors. */
export interface Scan {
  /** '' where it does not come before them, as every encoder writes it */
  readonly id: string;
  /** Bytes beside raw_input_contents, which are taken as they are; counted only as far as `enough`. */
  readonly bytes: number;
}

const ID = 3;
const RAW_INPUT_CONTENTS = 7;

/** Goes along the fields of the message (protobuf.dev/programming-guides/encoding); what is no message is found by who reads it. */
export function scanRequest(message: Uint8Array, enough: number): Scan {
  let id = '';
  let bytes = 0;
  let at = 0;

  function varint(): number {
    let value = 0;
    for (let factor = 1; at < message.length; factor *= 128) {
      const byte = message[at++] as number;
      value += (byte & 0x7f) * factor;
      if (byte < 128) return value;
    }
    return message.length;
  }

  while (at < message.length && bytes <= enough) {
    const from = at;
    const tag = varint();
    const isBytes = tag % 8 === 2;
    // Of anything else only the tag is skipped: it counts, and there is none in this message.
    const length = isBytes ? varint() : 0;
    const field = Math.floor(tag / 8);
    if (field === ID && isBytes && length <= 1000) id = Buffer.from(message.subarray(at, at + length)).toString('utf8');
    at += length;
    bytes += (field === RAW_INPUT_CONTENTS ? 0 : length) + 8;
    if (at <= from) break;
  }
  return { id, bytes };
}
