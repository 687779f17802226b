import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { BrinkError } from '@brink/protocol';
import { createTestClock, silentLogger } from '@brink/runtime';
import { expect, test } from 'vitest';
import type { NewAuditEntry } from '../ledger/access-rows.ts';
import { openLedger } from '../ledger/ledger.testing.ts';
import type { Caller } from './caller.ts';
import { createTokens } from './tokens.ts';

const DAY_MS = 86_400_000;
const root: Caller = { kind: 'root', name: 'root', address: '127.0.0.1', scopes: ['admin'] };
const sha256 = (text: string) => createHash('sha256').update(text).digest();

test('a token expires to the millisecond, is known after a restart, and says when it was used last', async () => {
  await using open = await openLedger();
  const clock = createTestClock();
  const deps = { ledger: open.ledger, clock, logger: silentLogger };
  const first = createTokens(deps);
  await first.start();
  const { id, token } = await first.add({ name: 'reader', scopes: ['status:read'], days: 1 }, root);
  const find = (tokens: typeof first) => tokens.find(token, sha256(token));
  expect(find(first)).toMatchObject({ id, name: 'reader' });
  await first.stop();
  expect((await open.ledger.read.tokens())[0]?.last_used_at).toBe(new Date(clock.now()).toISOString());

  const second = createTokens(deps);
  await second.start();
  await clock.advance(DAY_MS - 1);
  expect(find(second)).toMatchObject({ id });
  await clock.advance(1);
  const over = find(second);
  expect(over).toBeInstanceOf(BrinkError);
  expect((over as BrinkError).detail).toContain('expired at');
  // The same name may be used again, and the right secret of another one is not the right one.
  const next = await second.add({ name: 'reader', scopes: ['status:read'], days: 1 }, root);
  expect(second.find(next.token, sha256(token))).toBeInstanceOf(BrinkError);
  await second.stop();
});

const entry = (n: number): NewAuditEntry => ({
  at: new Date(1_700_000_000_000 + n).toISOString(),
  who: { kind: 'root', name: 'root', address: '127.0.0.1' },
  ...{ method: 'POST', path: `/v1/devices/cam-${n}`, status: 201, request: `r-${n}` },
});

test('an entry of the audit that was changed, taken out or put in is noticed', async () => {
  await using open = await openLedger();
  for (let n = 1; n <= 6; n++) await open.ledger.access({ change: 'audit', entry: entry(n) });
  using db = new DatabaseSync(join(open.folder, 'ledger.db'));
  db.exec('CREATE TEMP TABLE kept AS SELECT * FROM audit');
  for (const [sql, broken] of [
    ["UPDATE audit SET body = replace(body, 'cam-3', 'cam-4') WHERE n = 3", 3],
    ['DELETE FROM audit WHERE n = 3', 4],
    ['INSERT INTO audit SELECT 7, at_ms, who, path, body, sha256 FROM audit WHERE n = 6', 7],
  ] as const) {
    expect(await open.ledger.read.auditStretch()).toMatchObject({ rows: 6, more: false, last: { n: 6 } });
    db.exec(sql);
    expect(await open.ledger.read.auditStretch(), sql).toMatchObject({ broken });
    db.exec('DELETE FROM audit; INSERT INTO audit SELECT * FROM kept');
  }
});
