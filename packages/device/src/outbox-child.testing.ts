import { createDevice } from './device.ts';

// A device in a process of its own, to be killed: `node outbox-child.testing.ts <url> <name> <outbox file> <every ms>`. Says the name of
// each frame when it is kept, and only then.

const [url = '', name = '', file = '', everyMs = '5'] = process.argv.slice(2);
const device = createDevice({ url, name, outbox: { file } });
await device.start(AbortSignal.timeout(10_000));
setInterval(() => {
  void device.keep('pump', Buffer.from('samples')).then(({ boot, seq }) => process.stdout.write(`${boot}-${seq}\n`));
}, Number(everyMs));
