import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@brink/runtime';
import { onTestFinished } from 'vitest';
import type { Change } from './messages.ts';
import { Spool, type SpoolWorker } from './spool.ts';

export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'brink-spool-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

export function spoolIn(path: string, worker?: SpoolWorker) {
  const groups: number[] = [];
  const restarts: string[] = [];
  const spool = new Spool(
    { folder: path, worker },
    { clock: systemClock, onCommit: (changes) => groups.push(changes), onRestart: () => restarts.push('') },
  );
  onTestFinished(() => spool.close());
  const write = (change: Change) =>
    new Promise<void>((resolve, reject) => spool.write(change, (error) => (error ? reject(error) : resolve())));
  return { spool, groups, restarts, write };
}

export const WHERE = { device: 'dev-1', stream: 'raw' };
export const frame = (id: number, pipelines = ['bits'], payload = new Uint8Array([id])): Change => ({
  ...WHERE,
  counts: ['received', 'accepted'],
  numbers: { boot: 'k3v9', through: id, above: [], rejected: [] },
  frame: {
    ...{ id, boot: 'k3v9', seq: id, receivedMs: 1000 + id, type: 'application/octet-stream', traceparent: undefined },
    ...{ payload, pipelines },
  },
});
