import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { generate, writeToStream } from 'mqtt-packet';
import { expect, test } from 'vitest';
import { gatherWrites } from './gather.ts';

/** How often the system was called for what is written to the socket. */
async function callsFor(write: (socket: Socket) => Promise<void>, prepare: (socket: Socket) => void) {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const [[accepted], client] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, connected(port)]);
  let calls = 0;
  const writev = accepted._writev?.bind(accepted);
  accepted._writev = (chunks, done) => {
    calls += 1;
    writev?.(chunks, done);
  };
  prepare(accepted);
  await write(accepted);
  accepted.end();
  const got: Buffer[] = [];
  for await (const chunk of client) got.push(chunk as Buffer);
  server.close();
  return { calls, bytes: Buffer.concat(got) };
}

async function connected(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

const packet = (n: number) =>
  ({ cmd: 'publish', topic: `a/${n}`, payload: `decision ${n}`, qos: 0, dup: false, retain: false }) as const;

/** As aedes does: each from a callback of its own, within one turn. */
async function tenPackets(socket: Socket): Promise<void> {
  for (let n = 0; n < 10; n++) await new Promise<void>((resolve) => process.nextTick(() => resolve(send(socket, n))));
}
const send = (socket: Socket, n: number) => void writeToStream(packet(n), socket);

test('packets of one turn go to a client in one system call, in their order', async () => {
  const expected = Buffer.concat(Array.from({ length: 10 }, (_, n) => generate(packet(n))));
  const gathered = await callsFor(tenPackets, gatherWrites);
  expect(gathered).toEqual({ calls: 1, bytes: expected });
  const alone = await callsFor(tenPackets, () => {});
  expect(alone.bytes).toEqual(expected);
  expect(alone.calls).toBeGreaterThan(5);
});
