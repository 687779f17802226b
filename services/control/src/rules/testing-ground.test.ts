import type { BrinkError, RuleTestRequest } from '@brink/protocol';
import { systemClock } from '@brink/runtime';
import { expect, test } from 'vitest';
import { published, site } from '../ledger/ledger.testing.ts';
import { createBacktests } from './backtests.ts';
import { createTestingGround } from './testing-ground.ts';

const FILES = [{ name: 'new.yaml', text: 'rules: {}' }];

function ground(tryMsMax?: number) {
  const active = { ...published(site({ flap: {} })), activatedAt: '2026-11-22T16:00:00Z' };
  const models = new Map([['cifar-net', [1]]]);
  return createTestingGround(
    { ...(tryMsMax === undefined ? {} : { tryMsMax }) },
    {
      ledger: { read: {} as never },
      configuration: { active },
      models: () => Promise.resolve({ dir: 'models', versions: models, all: models }),
      backtests: createBacktests({ folder: 'nowhere' }, { clock: systemClock }),
      clock: systemClock,
    },
  );
}

const asked = (fields: Partial<RuleTestRequest>): RuleTestRequest => ({ limit: 10, ...fields });
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'taken',
    (error: BrinkError) => error.code,
  );

test('rules that take too long to read and test are refused, and the thread is gone', async () => {
  const hasty = ground(1);
  const error = await hasty.prepare(asked({ files: FILES })).catch((reason: BrinkError) => reason);
  expect(error).toMatchObject({ code: 'E_CONFIG', detail: expect.stringContaining('longer than 1 ms') });
  expect(await codeOf(hasty.prepare(asked({ files: FILES })))).toBe('E_CONFIG');
});

test('two are tried at once, the third is told to come back', async () => {
  const calm = ground();
  const answers = [1, 2, 3].map(() => codeOf(calm.prepare(asked({ files: FILES }))));
  expect((await Promise.all(answers)).sort()).toEqual(['E_BUSY', 'taken', 'taken']);
  expect(await codeOf(calm.prepare(asked({ files: FILES })))).toBe('taken');
});

test('a file that is no YAML, or that clashes with itself, is refused with its place', async () => {
  const calm = ground();
  const refused = async (text: string) => {
    const error = await calm.prepare(asked({ files: [{ name: 'new.yaml', text }] })).catch((one: BrinkError) => one);
    return 'detail' in error ? error.detail : 'taken';
  };
  expect(await refused('rules: [')).toMatch(/^new\.yaml:1:\d+/);
  expect(await refused('rules: { flap: { on: pets, when: "1 +", then: [] } }')).toMatch(/^new\.yaml:1:/);
});
