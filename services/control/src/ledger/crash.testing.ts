import { systemClock } from '@brink/runtime';
import { items, openLedger, outcome, published, site } from './ledger.testing.ts';

// A process that is killed: `node crash.testing.ts <folder> committed|leased`. Says "ready" at the point in question, and
// then waits for its end.

const [folder = '', point] = process.argv.slice(2);
const { ledger } = await openLedger({ folder, clock: systemClock });
const forever = setInterval(() => {}, 1000);
const say = (text: string) => process.stdout.write(`${text}\n`);

if (point === 'committed') {
  // After COMMIT and before anybody is answered or anything is sent.
  ledger.onCommitted(({ actions }) => {
    if (actions.length > 0) say('ready');
  });
}
await ledger.configure(published(site()));
await ledger.commit(items(outcome(1, { received_ms: Date.now() })));
if (point === 'leased') {
  await ledger.lease({ limit: 10, leaseMs: 60_000 });
  say('ready');
}
forever.ref();
