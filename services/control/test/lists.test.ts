import type { Outcome } from '@brink/protocol';
import { describe, expect, test } from 'vitest';
import { type Control, outcome, SITE, startControl } from './harness.ts';

const MINUTE = 60_000;
/** A whole hour, two hours ago: rules take nothing of it for new. */
const START = Math.floor(Date.now() / 3_600_000 - 2) * 3_600_000;
const iso = (ms: number) => new Date(ms).toISOString();

const result = (label: string, score: number): Outcome['result'] => ({
  ...{ task: 'classification', label, score, classes: [{ label, score }] },
});

const late = { code: 'E_EXPIRED', detail: 'too late' } as const;

/** Ten decisions, a minute apart; n and seq are the same number. */
const DECISIONS: readonly Partial<Outcome>[] = [
  { device: 'cam-1', pipeline: 'article', result: result('cat', 0.9) },
  { device: 'cam-2', pipeline: 'article', result: result('cat', 0.5) },
  { device: 'cam-1', pipeline: 'article', result: result('dog', 0.8) },
  { device: 'cam-1', pipeline: 'pets', result: result('dog', 0.3) },
  { device: 'cam-2', pipeline: 'pets', result: result('bird', 0.7) },
  { device: 'cam-1', pipeline: 'article', outcome: 'expired', result: undefined, error: late },
  { device: 'cam-2', pipeline: 'article', outcome: 'dead', result: undefined, error: late },
  { device: 'cam-1', stream: 'back', pipeline: 'yard', result: result('fox', 0.99) },
  { device: 'cam-1', pipeline: 'article', result: result('dog', 0.61) },
  { device: 'cam-2', pipeline: 'pets', result: result('dog', 0.6) },
];
async function started(): Promise<Control> {
  const control = await startControl({ files: { 'site.yaml': SITE } });
  for (const [index, fields] of DECISIONS.entries())
    await control.commit(outcome(index + 1, { received_ms: START + index * MINUTE, ...fields }));
  return control;
}

describe('lists of decisions', () => {
  test('every filter, alone and together, newest first; with after, oldest first', async () => {
    await using control = await started();
    const numbers = async (query: string) => {
      const { status, body } = await control.get(`/v1/decisions?${query}`);
      return status === 200 ? body.items.map(({ n }: { n: number }) => n) : body.detail;
    };
    const table: [query: string, expected: number[]][] = [
      ['', [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]],
      ['limit=2', [10, 9]],
      ['device=cam-2', [10, 7, 5, 2]],
      ['stream=back', [8]],
      ['pipeline=pets', [10, 5, 4]],
      ['label=dog', [10, 9, 4, 3]],
      ['score_min=0.61', [9, 8, 5, 3, 1]],
      ['score_min=6.1e-1&label=dog', [9, 3]],
      ['outcome=dead', [7]],
      ['outcome=expired&device=cam-2', []],
      [`since=${iso(START + 8 * MINUTE)}`, [10, 9]],
      [`until=${iso(START + 2 * MINUTE)}`, [2, 1]],
      [`since=${iso(START + 3 * MINUTE)}&until=${iso(START + 5 * MINUTE)}`, [5, 4]],
      [`device=cam-1&pipeline=article&label=dog&score_min=0.7&since=${iso(START)}`, [3]],
      ['after=0&limit=3', [1, 2, 3]],
      ['after=3&device=cam-2', [5, 7, 10]],
      ['after=10', []],
    ];
    for (const [query, expected] of table) expect(await numbers(query), query).toEqual(expected);
    // Beginning of time zones: the same moment, written otherwise.
    const elsewhere = encodeURIComponent(iso(START + 8 * MINUTE + 3_600_000).replace('Z', '+01:00'));
    expect(await numbers(`since=${elsewhere}`)).toEqual([10, 9]);
  });

  test('page by page with after, nothing is left out and nothing comes twice', async () => {
    await using control = await started();
    const seen: number[] = [];
    for (let after: number | undefined = 0; after !== undefined; ) {
      const { body } = await control.get(`/v1/decisions?after=${after}&limit=3`);
      seen.push(...body.items.map(({ n }: { n: number }) => n));
      after = body.next;
    }
    expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  test('summaries count per bucket what the list shows', async () => {
    await using control = await started();
    const from = `since=${iso(START)}&until=${iso(START + 10 * MINUTE)}`;
    const all = (await control.get(`/v1/decisions/summary?${from}&bucket_s=300`)).body;
    expect(all).toMatchObject({ bucket_s: 300, since: iso(START), until: iso(START + 10 * MINUTE) });
    expect(
      all.items.map(({ at, decided, expired, dead }: Record<string, unknown>) => [at, decided, expired, dead]),
    ).toEqual([
      [iso(START), 5, 0, 0],
      [iso(START + 5 * MINUTE), 3, 1, 1],
    ]);
    expect(all.items[0].labels).toEqual([
      { label: 'cat', count: 2 },
      { label: 'dog', count: 2 },
      { label: 'bird', count: 1 },
    ]);
    const pets = (await control.get(`/v1/decisions/summary?${from}&pipeline=pets`)).body;
    expect(pets.items).toMatchObject([{ decided: 3, score: { min: 0.3, max: 0.7 } }]);
    for (const wrong of [
      'bucket_s=59',
      'bucket_s=90',
      `since=${iso(START)}&until=${iso(START)}`,
      'bucket_s=60&since=2020-01-01T00:00:00Z',
    ])
      expect((await control.get(`/v1/decisions/summary?${wrong}`)).body.code, wrong).toBe('E_BAD_REQUEST');
  });
});

test('lists of actions and dead letters are filtered and paged, newest first', async () => {
  await using control = await startControl();
  for (let i = 0; i < 3; i++) await control.post('/v1/devices/feeder-1/commands', { name: 'open', expires_ms: 60_000 });
  await control.post('/v1/devices/siren-1/commands', { name: 'quiet', expires_ms: 60_000 });
  const made = async (query: string): Promise<string[]> =>
    (await control.get(`/v1/actions?${query}`)).body.items.map(({ target }: { target: string }) => target);
  expect(await made('')).toEqual(['siren-1', 'feeder-1', 'feeder-1', 'feeder-1']);
  expect(await made('target=siren-1')).toEqual(['siren-1']);
  expect(await made('kind=webhook')).toEqual([]);
  expect(await made('kind=command&limit=1')).toEqual(['siren-1']);
  expect(await made(`since=${iso(Date.now() + MINUTE)}`)).toEqual([]);
  expect(await made(`until=${iso(Date.now() + MINUTE)}`)).toHaveLength(4);
  expect(await made('code=E_EXPIRED')).toEqual([]);
  const first = (await control.get('/v1/actions?limit=3')).body;
  expect(await made(`limit=3&before=${first.next}`)).toEqual(['feeder-1']);

  const dead = (seq: number, code: string) =>
    ({ dead: true, device: 'cam-1', stream: 'front', boot: 'k3v9', seq, error: { code, detail: 'no' } }) as const;
  for (const [seq, code] of [
    [1, 'E_IMAGE_TYPE'],
    [2, 'E_EMPTY'],
    [3, 'E_IMAGE_TYPE'],
  ] as const)
    await control.commit({ ...dead(seq, code), sha256: `${seq}`.repeat(64), bytes: 10, received_ms: Date.now() });
  const letters = async (query: string) =>
    (await control.get(`/v1/dead?${query}`)).body.items.map(({ seq }: { seq: number }) => seq);
  expect(await letters('')).toEqual([3, 2, 1]);
  expect(await letters('code=E_IMAGE_TYPE')).toEqual([3, 1]);
  expect(await letters('device=cam-2')).toEqual([]);
  const page = (await control.get('/v1/dead?limit=2')).body;
  expect(await letters(`before=${page.next}&stream=front`)).toEqual([1]);
});
