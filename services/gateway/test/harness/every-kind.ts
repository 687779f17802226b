import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Configuration } from '@brink/protocol';
import { signal, wav } from './bad-inputs.ts';
import { writePassport } from './neighbours.ts';
import { png } from './pictures.ts';
import { type Site, tensor } from './site.ts';

const channels = ['ax', 'ay'];
const ears = { tensor: 'x', audio: { rate_hz: 8000, window: 80, hop: 80 } };
const nerves = { tensor: 'x', signal: { rate_hz: 100, window: 4, hop: 4, channels } };

/** Every stream twice: `pump` keeps the latest, `pump-kept` everything. */
function streams(): object {
  const all = {
    front: { format: 'image', frame_bytes_max: 2_000_000, pipelines: { pets: { model: 'cats' } } },
    raw: { format: 'tensor', pipelines: { bits: { model: 'cats' } } },
    mic: { format: 'audio', pipelines: { words: { model: 'ears' } } },
    pcm: { format: 'audio', audio: { encoding: 's16le', rate_hz: 8000 }, pipelines: { noise: { model: 'ears' } } },
    pump: {
      ...{ format: 'signal', frame_bytes_max: 2_000_000, signal: { encoding: 'json', fields: channels } },
      pipelines: { bearing: { model: 'nerves' } },
    },
    meter: {
      format: 'signal',
      signal: { encoding: 'cbor', fields: channels },
      pipelines: { load: { model: 'nerves' } },
    },
    table: {
      format: 'signal',
      signal: { encoding: 'csv', fields: channels },
      pipelines: { rows: { model: 'nerves' } },
    },
    samples: {
      format: 'signal',
      signal: { encoding: 'f32le', fields: channels },
      pipelines: { bare: { model: 'nerves' } },
    },
    notes: { format: 'text', pipelines: { intent: { model: 'words' } } },
  };
  const twice = Object.entries(all).flatMap(([name, stream]) => {
    const [[pipeline, of] = []] = Object.entries(stream.pipelines);
    const kept = { ...stream, delivery: 'durable', pipelines: { [`${pipeline}-kept`]: of } };
    return [
      [name, { frame_age_ms_max: 20_000, ...stream }],
      [`${name}-kept`, kept],
    ];
  });
  return Object.fromEntries(twice);
}

/** Streams of every kind of frame. */
export const EVERY_KIND = { version: 1, streams: streams() } as unknown as Configuration;

/** Models for all of them. */
export async function serveEveryKind(site: Site): Promise<void> {
  const more = [
    await writePassport(site.modelsDir, { name: 'ears', inputs: [ears] }),
    await writePassport(site.modelsDir, { name: 'nerves', inputs: [nerves] }),
    await writeWords(site),
  ];
  await site.inference.announce([site.cats, ...more]);
}

const TOKENIZER = {
  ...{ version: '1.0', added_tokens: [], post_processor: null, decoder: null },
  normalizer: { type: 'Lowercase' },
  pre_tokenizer: { type: 'Whitespace' },
  model: { type: 'WordLevel', vocab: { '[PAD]': 0, '[UNK]': 1, open: 2, the: 3, door: 4 }, unk_token: '[UNK]' },
};

/** A model of four words, with its tokenizer beside it. */
async function writeWords({ modelsDir }: Site) {
  const tokenizer = Buffer.from(JSON.stringify(TOKENIZER));
  await mkdir(join(modelsDir, 'words/1'), { recursive: true });
  await writeFile(join(modelsDir, 'words/1/tokenizer.json'), tokenizer);
  const sha256 = createHash('sha256').update(tokenizer).digest('hex');
  const inputs = [{ tensor: 'ids', text: { tokenizer: 'tokenizer.json', length_max: 4 } }];
  return writePassport(modelsDir, { name: 'words', inputs, files: [{ path: 'tokenizer.json', sha256 }] });
}

/** A good frame of each kind: one unit, which is decided. */
export const GOOD: readonly (readonly [stream: string, payload: () => Buffer])[] = [
  ['front', () => png(8, 8)],
  ['raw-kept', tensor],
  ['mic', wav],
  ['pump', signal],
  ['notes', () => Buffer.from('Open the door')],
];
