import { serveSpool } from './serve.ts';

// The thread that owns spool.db: a COMMIT waits for the disk, and nothing else of the gateway waits with it.

await serveSpool();
