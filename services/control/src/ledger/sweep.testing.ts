import { writeSync } from 'node:fs';
import { createTopics } from '@brink/protocol';
import { silentLogger, systemClock } from '@brink/runtime';
import { createDispatcher } from '../actions/dispatcher.ts';
import { withoutHttp } from '../actions/without-http.testing.ts';
import { items, openLedger, outcome, published, site } from './ledger.testing.ts';

// The ledger and its dispatcher in a process that ends itself, as `kill -9` does: `node sweep.testing.ts <folder> <point> <n> <cameras>`.
// It commits one outcome of each camera, one by one as a gateway sends them again, and sends what the rule orders. What it says:
// `committed <camera>` as control answers a gateway, `arrived <key>` as a device hears it, and `done`.

const [folder = '', point = '', nth = '0', cameras = ''] = process.argv.slice(2);
const say = (text: string) => void writeSync(1, `${text}\n`);
let left = Number(nth);
function pass(name: string): void {
  if (name !== point) return;
  left -= 1;
  if (left === 0) process.kill(process.pid, 'SIGKILL');
}

const killAt = point.startsWith('commit.') ? { point, n: Number(nth) } : undefined;
const { ledger } = await openLedger({ folder, clock: systemClock, testing: killAt === undefined ? {} : { killAt } });
const mqtt = {
  connected: true,
  onConnect() {},
  async publish(_topic: string, payload: string | Uint8Array) {
    pass('dispatch.before_send');
    say(`arrived ${JSON.parse(String(payload)).key}`);
    pass('dispatch.after_send');
  },
};
const deps = { ledger, mqtt, topics: createTopics(), mqttAllow: () => [], random: () => 0.5, ...withoutHttp };
const dispatcher = createDispatcher({}, { ...deps, clock: systemClock, logger: silentLogger });
const keep = setInterval(() => {}, 1000);
await ledger.configure(published(site()));
await dispatcher.start(new AbortController().signal);
for (const device of cameras.split(',')) {
  await ledger.commit(items(outcome(1, { device, received_ms: Date.now() })));
  say(`committed ${device}`);
}
for (;;) {
  const states = await Promise.all(
    cameras.split(',').map((device) => ledger.read.action(`${device}.front.k3v9.1.0.pets~flap~0`)),
  );
  if (states.every((action) => action?.state === 'sent')) break;
  await new Promise((resolve) => setTimeout(resolve, 2));
}
say('done');
await dispatcher.stop();
await ledger.stop();
clearInterval(keep);
