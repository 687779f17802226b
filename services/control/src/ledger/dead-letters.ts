import { createHash } from 'node:crypto';
import type { DeadLetter } from '@brink/protocol';
import type { Store } from './store.ts';

/** Frames that were refused by name: kept once, counted by code. */
export function createDeadLetters(store: Store) {
  const counts = new Map<string, number>();

  return {
    /** @returns whether it is new: a letter that is sent again is the same text */
    add(letter: DeadLetter, text: string): boolean {
      const hash = createHash('sha256').update(text).digest().subarray(0, 16);
      const { code, detail } = letter.error;
      const { changes } = store
        .sql(
          `INSERT INTO dead_letter (hash, device, stream, boot, seq, code, detail, sha256, bytes, type, received_ms)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
        )
        .run(
          ...([hash, letter.device, letter.stream, letter.boot ?? null, letter.seq ?? null, code, detail] as const),
          ...([letter.sha256, letter.bytes, letter.type ?? null, letter.received_ms] as const),
        );
      if (changes === 0) return false;
      counts.set(code, (counts.get(code) ?? 0) + 1);
      return true;
    },
    flush(): void {
      for (const [code, count] of counts) {
        store
          .sql('INSERT INTO dead_count VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count')
          .run(code, count);
      }
      counts.clear();
    },
    forget: () => counts.clear(),
  };
}
