import { parentPort, workerData } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol';
import { makeCopy } from './backup/copies.ts';
import { clockSetWhileDown } from './clock-at-start.ts';
import { createIntegrity } from './integrity/integrity.ts';
import { openSound } from './integrity/recovery.ts';
import type { Answer, CopyMade, Group, NotReady, Operation, Query, Ready, WorkerData } from './messages.ts';
import { createReader } from './reader.ts';
import { makeRoomToOpen } from './room.ts';
import { openStoreForReading, type Store, storageError } from './store.ts';
import { createWriter } from './writer.ts';

// The thread that owns a connection to ledger.db: one writes, with the rules; another one reads; at times one copies.

const port = parentPort;
const config = workerData as WorkerData;

if (port !== null) {
  try {
    await { write, read, copy }[config.role](port);
  } catch (error) {
    fail(error);
  }
}

type Port = NonNullable<typeof port>;

function fail(error: unknown): void {
  const { code, detail } = BrinkError.from(error);
  port?.postMessage({ ready: false, failure: { code, detail } } satisfies NotReady);
  port?.close();
}

async function write(port: Port): Promise<void> {
  makeRoomToOpen(config.folder);
  const opened = await openSound(config.folder, { nowMs: config.nowMs, deep: config.deep === true });
  const { store } = opened;
  const integrity = createIntegrity(config.folder, opened, config.nowMs);
  const writer = createWriter(store, config, integrity);
  const warnings = [
    ...opened.warnings,
    ...writer.start(clockSetWhileDown(opened.mirror, config.nowMs, config.machine)),
  ];
  port.on('message', (message: Group | 'stop') => {
    if (message !== 'stop') {
      const fatal = (operation: Operation) =>
        operation.op === 'deviceStatus' && operation.device === config.testing.exitOnDevice;
      if (message.operations.some(fatal)) process.exit(1);
      port.postMessage(writer.apply(message));
      return;
    }
    try {
      writer.stop();
    } catch {
      // A checkpoint that fails costs nothing: the WAL holds it all, and is read at the next start.
    }
    store.close();
    integrity.close();
    port.close();
  });
  const { damage } = integrity;
  port.postMessage({ ready: true, warnings, damage, nextTimerMs: writer.nextTimerMs } satisfies Ready);
}

async function copy(port: Port): Promise<void> {
  const made = await makeCopy(config.folder, { keep: config.keep ?? 1, nowMs: config.nowMs });
  port.postMessage({ copy: made } satisfies CopyMade);
  port.close();
}

/** Opens the store when it is told to: the writer looks at the files first, while nobody has them open. */
function read(port: Port): void {
  let store: Store | undefined;
  let reader: Partial<ReturnType<typeof createReader>> = {};
  port.on('message', (message: Query | 'open' | 'stop') => {
    if (message === 'open') open();
    else if (message === 'stop') close();
    else port.postMessage(answer(message));
  });

  function open(): void {
    try {
      store = openStoreForReading(config.folder);
      reader = createReader(store);
      port.postMessage({ ready: true, warnings: [], damage: [] } satisfies Ready);
    } catch (error) {
      fail(error);
    }
  }

  function close(): void {
    store?.close();
    port.close();
  }

  function answer({ id, method, args }: Query): Answer {
    try {
      const ask = reader[method as keyof typeof reader] as (...args: unknown[]) => unknown;
      return { id, value: ask(...args) };
    } catch (error) {
      const { code, detail } = storageError(error, 'ledger.db');
      return { id, failure: { code, detail } };
    }
  }
}
