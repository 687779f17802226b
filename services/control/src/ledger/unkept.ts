import type { Store } from './store.ts';

// Units whose decision was committed but not kept (`keep`). No row guards them, so a bit per frame does: one BLOB for 1024 numbers of
// a lane, boot and part, so that a unit costs a bit or a few instead of a row. Exact, unlike `seen`, which may close gaps: these
// units are young, and another of the same frame may still be under way. By age they go into `seen`, as rows do.

const NUMBERS = 1024;
const CACHED_MAX = 20_000;

export interface UnitKey {
  readonly lane: number;
  readonly boot: string;
  readonly seq: number;
  readonly part: number;
}

interface Block {
  readonly bits: Uint8Array;
  readonly firstMs: number;
  lastMs: number;
}

interface BlockKey {
  readonly lane: number;
  readonly boot: string;
  readonly part: number;
  readonly block: number;
}

const keyOf = ({ lane, boot, seq, part }: UnitKey): BlockKey => ({
  lane,
  boot,
  part,
  block: Math.floor(seq / NUMBERS),
});
const textOf = ({ lane, boot, part, block }: BlockKey) => `${lane}.${boot}.${part}.${block}`;

/** The `unkept` table with a bounded cache. `flush` before COMMIT; `forget` after a ROLLBACK. */
export function createUnkept(store: Store) {
  const cache = new Map<string, Block | null>();
  const dirty = new Map<string, { key: BlockKey; block: Block }>();
  let any = hasRows(store);

  function load(key: BlockKey): Block | null {
    const text = textOf(key);
    const cached = cache.get(text);
    if (cached !== undefined) return cached;
    const row = store
      .sql('SELECT bits, first_ms, last_ms FROM unkept WHERE lane = ? AND boot = ? AND part = ? AND block = ?')
      .get(key.lane, key.boot, key.part, key.block);
    const block =
      row === undefined
        ? null
        : { bits: row.bits as Uint8Array, firstMs: Number(row.first_ms), lastMs: Number(row.last_ms) };
    if (cache.size >= CACHED_MAX && dirty.size === 0) cache.clear();
    cache.set(text, block);
    return block;
  }

  return {
    has(unit: UnitKey): boolean {
      // Where everything is kept, nothing is looked for.
      if (!any) return false;
      const block = load(keyOf(unit));
      const at = unit.seq % NUMBERS;
      return block !== null && ((block.bits[at >> 3] as number) & (1 << (at & 7))) !== 0;
    },
    add(unit: UnitKey, nowMs: number): void {
      const key = keyOf(unit);
      const block = load(key) ?? { bits: new Uint8Array(NUMBERS / 8), firstMs: nowMs, lastMs: nowMs };
      const at = unit.seq % NUMBERS;
      block.bits[at >> 3] = (block.bits[at >> 3] as number) | (1 << (at & 7));
      block.lastMs = nowMs;
      any = true;
      const text = textOf(key);
      cache.set(text, block);
      dirty.set(text, { key, block });
    },
    /** Gives blocks of before `cutoffMs` to `seen`, so many at most. @returns how many */
    fold(cutoffMs: number, blocks: number, seen: (lane: number, boot: string, seq: number) => void): number {
      if (!any) return 0;
      const old = store
        .sql('SELECT * FROM unkept WHERE first_ms < ? AND last_ms < ? ORDER BY first_ms LIMIT ?')
        .all(cutoffMs, cutoffMs, blocks);
      for (const row of old) {
        const key = {
          lane: Number(row.lane),
          boot: String(row.boot),
          part: Number(row.part),
          block: Number(row.block),
        };
        for (const seq of numbersIn(row.bits as Uint8Array, key.block)) seen(key.lane, key.boot, seq);
        store
          .sql('DELETE FROM unkept WHERE lane = ? AND boot = ? AND part = ? AND block = ?')
          .run(key.lane, key.boot, key.part, key.block);
        cache.delete(textOf(key));
      }
      return old.length;
    },
    flush(): void {
      if (dirty.size === 0) return;
      const save = store.sql(
        `INSERT INTO unkept (lane, boot, part, block, bits, first_ms, last_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET bits = excluded.bits, last_ms = excluded.last_ms`,
      );
      for (const { key, block } of dirty.values())
        save.run(key.lane, key.boot, key.part, key.block, block.bits, block.firstMs, block.lastMs);
      dirty.clear();
    },
    forget(): void {
      cache.clear();
      dirty.clear();
      any = hasRows(store);
    },
  };
}
export type Unkept = ReturnType<typeof createUnkept>;

const hasRows = (store: Store) => store.sql('SELECT 1 FROM unkept LIMIT 1').get() !== undefined;

function* numbersIn(bits: Uint8Array, block: number): Generator<number> {
  for (let at = 0; at < NUMBERS; at++) {
    if (((bits[at >> 3] as number) & (1 << (at & 7))) !== 0) yield block * NUMBERS + at;
  }
}
