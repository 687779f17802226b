const CODES = { pcm: 1, float: 3 };

export interface SoundSpec {
  kind?: 'pcm' | 'float';
  bits?: number;
  rateHz?: number;
  channels?: number;
  extensible?: boolean;
  /** Chunks of one's own, in front of, between and behind the two that count. */
  before?: Buffer[];
  between?: Buffer[];
  behind?: Buffer[];
  dataFirst?: boolean;
}

/** @param samples −1..1, channel after channel of each moment */
export function wav(samples: readonly number[], o: SoundSpec = {}): Buffer {
  const { before = [], between = [], behind = [] } = o;
  const [first, second] = [chunk('fmt ', format(o)), chunk('data', encode(samples, o))];
  const inner = o.dataFirst === true ? [second, ...between, first] : [first, ...between, second];
  const body = Buffer.concat([Buffer.from('WAVE'), ...before, ...inner, ...behind]);
  return chunk('RIFF', body);
}

export function chunk(name: string, content: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.write(name, 'latin1');
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, content, Buffer.alloc(content.length % 2)]);
}

function format({ kind = 'pcm', bits = 16, rateHz = 16_000, channels = 1, extensible = false }: SoundSpec): Buffer {
  const out = Buffer.alloc(extensible ? 40 : 16);
  out.writeUInt16LE(extensible ? 0xfffe : CODES[kind]);
  out.writeUInt16LE(channels, 2);
  out.writeUInt32LE(rateHz, 4);
  out.writeUInt32LE((rateHz * channels * bits) / 8, 8);
  out.writeUInt16LE((channels * bits) / 8, 12);
  out.writeUInt16LE(bits, 14);
  if (extensible) {
    out.writeUInt16LE(22, 16);
    out.writeUInt16LE(bits, 18);
    out.writeUInt16LE(CODES[kind], 24);
    out.write('000000001000800000aa00389b71', 26, 'hex');
  }
  return out;
}

function encode(samples: readonly number[], { kind = 'pcm', bits = 16 }: SoundSpec): Buffer {
  const bytes = bits / 8;
  const out = Buffer.alloc(samples.length * bytes);
  const full = 2 ** (bits - 1);
  for (const [i, sample] of samples.entries()) {
    if (kind === 'float' && bits === 32) out.writeFloatLE(sample, i * bytes);
    else if (kind === 'float') out.writeDoubleLE(sample, i * bytes);
    else if (bits === 8) out.writeUInt8(Math.min(255, Math.round(sample * full) + 128), i);
    else out.writeIntLE(Math.min(full - 1, Math.round(sample * full)), i * bytes, bytes);
  }
  return out;
}
