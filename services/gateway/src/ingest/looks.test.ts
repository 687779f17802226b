import { sniff } from '@brink/decode';
import { describe, expect, it } from 'vitest';
import { createDiscovered } from './discovered.ts';
import { looksLike } from './looks.ts';

const of = (payload: string | Uint8Array) => {
  const bytes = Buffer.from(payload as string);
  return looksLike(sniff(bytes), bytes, true);
};

const wav = Buffer.alloc(60);
wav.write('RIFF', 0);
wav.write('WAVEfmt ', 8);
wav.writeUInt16LE(2, 22);
wav.writeUInt32LE(44_100, 24);

describe('a stream that nobody declared', () => {
  const cases: [what: string, payload: string | Uint8Array, lines: string[], note: RegExp | undefined][] = [
    ['a picture', Buffer.from([0xff, 0xd8, 0xff, 0xe0]), ['format: image'], undefined],
    ['a recording', wav, ['format: audio'], /WAV, 44100 Hz, channels: 2/],
    [
      'numbers in JSON',
      '{"rate_hz": 100, "ax": [1], "ay": [2], "note": "x"}',
      ['format: signal', 'signal: { encoding: json, fields: [ax, ay] }'],
      /numbers/,
    ],
    [
      'the state of a plug',
      '{"Time":"2026-11-23T01:00:00","ENERGY":{"Power":3,"Factor":0.5},"SI7021-14":{"Temperature":20}}',
      ['format: signal', 'signal: { encoding: json, fields: [ENERGY.Power, ENERGY.Factor, SI7021-14.Temperature] }'],
      /numbers/,
    ],
    [
      'points in JSON',
      '[{"a": 1, "b c": 2}]',
      ['format: signal', 'signal: { encoding: json, fields: [a, "b c"] }'],
      /./,
    ],
    [
      'a name that means something in YAML',
      '{"on": 1, "}": 2}',
      ['format: signal', 'signal: { encoding: json, fields: ["on", "}"] }'],
      /./,
    ],
    [
      'JSON without numbers',
      '{"state": "ON"}',
      ['format: signal', 'signal: { encoding: json, fields: ["…"] }'],
      /without numbers/,
    ],
    ['JSON that is none', '{hello', ['format: signal', 'signal: { encoding: json, fields: ["…"] }'], /without numbers/],
    ['CBOR', Buffer.from('a16261788101', 'hex'), ['format: signal', 'signal: { encoding: cbor, fields: [ax] }'], /./],
    ['CSV with names', 'time;ax;ay\nx;1;2\n', ['format: signal', 'signal: { encoding: csv, fields: [ax, ay] }'], /./],
    ['CSV without', '1,2\n3,4\n', ['format: signal', 'signal: { encoding: csv, fields: [value-1, value-2] }'], /./],
    ['one number', '21.5', ['format: signal', 'signal: { encoding: csv, fields: [value] }'], /./],
    ['a sentence', 'The pump is loud', ['format: text'], undefined],
    ['bytes', Buffer.alloc(48), ['format: tensor'], /tell no type/],
    ['gzip', Buffer.from('1f8b0800', 'hex'), ['format: image'], /application\/gzip; send it without compression/],
    ['a GIF', 'GIF89a', ['format: image'], /image\/gif; no stream takes that/],
  ];
  it.each(cases)('that sends %s', (_, payload, lines, note) => {
    const looks = of(payload);
    expect(looks.lines).toEqual(lines);
    if (note === undefined) expect(looks.note).toBeUndefined();
    else expect(looks.note).toMatch(note);
  });

  it('does not cost more than its beginning, and breaks nothing, whatever it is', () => {
    let state = 5;
    for (let i = 0; i < 3000; i++) {
      const bytes = Buffer.alloc(1 + (i % 60));
      for (let at = 0; at < bytes.length; at++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        bytes[at] = i % 2 === 0 ? state >>> 24 : Buffer.from('{}[],:"1e\n;')[(state >>> 24) % 11]!;
      }
      expect(looksLike(sniff(bytes), bytes, i % 3 > 0).lines.length).toBeGreaterThan(0);
    }
  });
});

describe('what is discovered', () => {
  const models = () => [
    { name: 'pump', needs: { kinds: ['signal'], channels: ['ax'] } },
    { name: 'cats', needs: { kinds: ['image'], channels: [] } },
    { name: 'dogs', needs: { kinds: ['image'], channels: [] } },
  ];
  const devicesOf = (stream: string) => (stream === 'front' ? 'cam-*' : undefined);
  const lists = (list: typeof models) => createDiscovered({ entriesMax: 9 }, { devicesOf, models: list });
  const payload = Buffer.from('{"ax": [1, 2]}');

  it('has a rate, and the configuration to paste with a model that fits; of a stream that there is, the line to change', () => {
    const discovered = lists(models);
    for (let i = 0; i <= 10; i++)
      discovered.see('pump-1', 'acc', 'brink/pump-1/up/frames/acc', 'application/json', payload, 1000 + i * 100);
    discovered.see('dev-1', 'front', 'brink/dev-1/up/frames/front', 'image/jpeg', Buffer.alloc(900_000), 5000);
    const [front, acc] = discovered.report();
    expect(acc).toMatchObject({ frames: 11, per_s: 10, bytes: payload.length, last_at_ms: 2000 });
    expect(acc?.paste.split('\n')).toEqual([
      'streams:',
      expect.stringMatching(/^ {2}# numbers/),
      '  acc:',
      '    devices: "pump-1"',
      '    format: signal',
      '    signal: { encoding: json, fields: [ax] }',
      '    pipelines:',
      '      acc-model: { model: pump }',
      '',
    ]);
    expect(front).toMatchObject({ per_s: 0 });
    expect(front?.paste.split('\n')).toEqual([
      '# streams.front takes the devices "cam-*" alone; to take dev-1 too, change its line to',
      '#     devices: "*"',
      '',
    ]);
  });

  it('is declared once for all devices of a stream; who sends something else under its name is named', () => {
    const discovered = lists(models);
    const see = (device: string, bytes: Buffer) =>
      discovered.see(device, 'side', `brink/${device}/up/frames/side`, sniff(bytes), bytes, 0);
    see('pump-1', payload);
    see('cam-1', Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xe0]), Buffer.alloc(900_000)]));
    see('cam-22', Buffer.from([0xff, 0xd8, 0xff, 0xe0]));
    const pastes = discovered.report().map(({ paste }) => paste);
    expect(new Set(pastes).size).toBe(1);
    expect(pastes[0]?.split('\n')).toEqual([
      'streams:',
      '  # cam-* stands for cam-1, cam-22; others that fit it are taken too',
      '  # pump-1 sends something else under this name: call its stream otherwise',
      '  side:',
      '    devices: "cam-*"',
      '    format: image',
      '    frame_bytes_max: 2097152',
      '    pipelines:',
      '      # or: dogs',
      '      side-model: { model: cats }',
      '',
    ]);
  });

  it('says where there is no model that fits', () => {
    const discovered = lists(() => []);
    discovered.see('pump-1', 'acc', 'brink/pump-1/up/frames/acc', 'application/json', payload, 0);
    const lines = discovered.report()[0]?.paste.trimEnd().split('\n') ?? [];
    expect(lines).toContain('#      # put a model for signal here: none is served yet');
    expect(lines.filter((line) => !line.startsWith('#'))).toEqual([]);
  });
});
