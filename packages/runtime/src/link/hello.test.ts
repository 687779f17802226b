import { afterEach, describe, expect, test } from 'vitest';
import { codeOf, createUndo, decode, echo, helloFrame, linked, open, type Side, socketPair } from './link.testing.ts';

const undo = createUndo();
afterEach(() => undo.run());

/** What each side's `createLink` came to. */
async function meet(a: Side, b: Side): Promise<[string, string]> {
  const [dialled, accepted] = await socketPair(undo);
  return Promise.all([codeOf(open(dialled, 'gateway', a)), codeOf(open(accepted, 'inference', b))]);
}

describe('versions', () => {
  test('N and N−1 meet at the lower one', async () => {
    const [left, right] = await linked(
      undo,
      { versions: { highest: 2, lowest: 1 } },
      { versions: { highest: 1, lowest: 1 }, handlers: echo },
    );
    expect([left.info.version, right.info.version]).toEqual([1, 1]);
    await left.request(decode);
  });

  test('that do not overlap are E_LINK_VERSION on both sides, with both ranges in words', async () => {
    const [dialled, accepted] = await socketPair(undo);
    const ends = await Promise.allSettled([
      open(dialled, 'gateway', { versions: { highest: 4, lowest: 3 } }),
      open(accepted, 'inference', {}),
    ]);
    for (const end of ends) {
      expect(end).toMatchObject({ status: 'rejected', reason: { code: 'E_LINK_VERSION' } });
      expect(String((end as PromiseRejectedResult).reason)).toMatch(/3 to 4.*1 to 1|1 to 1.*3 to 4/);
    }
  });
});

describe('tokens', () => {
  test('let the right one in', async () => {
    expect(await meet({ token: 'secret' }, { expectToken: 'secret' })).toEqual(['resolved', 'resolved']);
  });

  test('turn wrong, shorter, longer and absent ones away, and both sides know why', async () => {
    for (const token of ['secreT', 'secre', 'secrets', '']) {
      expect(await meet({ token }, { expectToken: 'secret' })).toEqual(['E_LINK_TOKEN', 'E_LINK_TOKEN']);
    }
  });

  test('are asked for before anything is said: a stranger learns nothing of this side', async () => {
    const [raw, accepted] = await socketPair(undo);
    const got: Buffer[] = [];
    raw.on('data', (chunk) => got.push(chunk));
    const serving = codeOf(open(accepted, 'inference', { instance: 'line-7', expectToken: 'secret' }));
    raw.write(helloFrame({ token: 'guess' }));
    expect(await serving).toBe('E_LINK_TOKEN');
    await new Promise((resolve) => raw.once('close', resolve));
    expect(Buffer.concat(got).toString('latin1')).toContain('E_LINK_TOKEN');
    expect(Buffer.concat(got).toString('latin1')).not.toContain('line-7');
  });
});

describe('a peer without a hello', () => {
  test('is given up after the limit', async () => {
    const [, accepted] = await socketPair(undo);
    expect(await codeOf(open(accepted, 'inference', { helloTimeoutMs: 20 }))).toBe('E_TIMEOUT');
  });

  test('that closes is E_LINK_CLOSED', async () => {
    const [raw, accepted] = await socketPair(undo);
    const serving = codeOf(open(accepted, 'inference', {}));
    raw.end();
    expect(await serving).toBe('E_LINK_CLOSED');
  });
});
