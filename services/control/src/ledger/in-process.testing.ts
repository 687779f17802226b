import { makeCopy } from './backup/copies.ts';
import { createIntegrity } from './integrity/integrity.ts';
import { openSound } from './integrity/recovery.ts';
import { items, outcome } from './ledger.testing.ts';
import type { Operation } from './messages.ts';
import { createWriter } from './writer.ts';

/** The ledger's writer without its threads, for tests that open it often: a thread's start costs half a second. */
export async function openInProcess(folder: string, nowMs = Date.now()) {
  const opened = await openSound(folder, { nowMs, deep: false });
  const integrity = createIntegrity(folder, opened, nowMs);
  const limits = { retainDays: 30, retainRows: 1e7, retainBytes: 1e12, retainSummaryDays: 90 };
  const config = { role: 'write' as const, folder, nowMs, ...limits, testing: { ballastBytes: 0 } };
  const writer = createWriter(opened.store, config, integrity);
  writer.start();
  let groups = 0;

  function perform(operation: Operation): unknown {
    groups += 1;
    const [result] = writer.apply({ id: groups, nowMs, shiftMs: 0, full: true, operations: [operation] }).results;
    if (result === undefined || 'failure' in result) throw new Error(JSON.stringify(result));
    return result.value;
  }

  return {
    damage: integrity.damage,
    perform,
    /** @returns the running numbers that they were given */
    commit(...seqs: number[]): number[] {
      const texts = items(...seqs.map((seq) => outcome(seq))).map(({ json }) => json);
      return (perform({ op: 'commit', texts, dead: texts.map(() => false) }) as { ns: number[] }).ns;
    },
    /** Newest first. */
    get ns(): number[] {
      return opened.store
        .sql('SELECT n FROM decision ORDER BY n DESC')
        .all()
        .map(({ n }) => Number(n));
    },
    copy: () => makeCopy(folder, { keep: 3, nowMs }),
    [Symbol.dispose](): void {
      writer.stop();
      opened.store.close();
      integrity.close();
    },
  };
}
