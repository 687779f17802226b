import { parentPort, workerData } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol';
import type { Failure, Reply, Request } from './messages.ts';
import { openSpoolFile, spoolError } from './store.ts';
import { createWriter } from './writer.ts';

// The thread that owns spool.db: a COMMIT waits for the disk, and nothing else of the gateway waits with it.

const port = parentPort;
const { folder } = workerData as { folder: string };
const failureOf = (error: unknown): Failure => {
  const { code, detail } = BrinkError.from(spoolError(error, 'spool.db'));
  return { code, detail };
};
const tell = (reply: Reply) => port?.postMessage(reply);

try {
  const db = await openSpoolFile(folder);
  const writer = createWriter(db);
  port?.on('message', (request: Request) => {
    if (request === 'stop') {
      db.close();
      port.close();
      return;
    }
    const { n } = 'write' in request ? request.write : request.load;
    try {
      if ('load' in request) tell({ n, rows: writer.load(request.load) });
      else {
        writer.commit(request.write);
        tell({ n });
      }
    } catch (error) {
      tell({ n, failure: failureOf(error) });
    }
  });
  tell({ opened: writer.contents() });
} catch (error) {
  tell({ notOpened: failureOf(error) });
  port?.close();
}
