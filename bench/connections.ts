import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '@brink/test/up';
import type { Bench, BenchResult } from './bench.ts';
import { startChild, withOpenFiles } from './child.ts';
import { pause } from './clients.ts';
import { createCpuMeter } from './cpu.ts';
import { temporaryFolder } from './folder.ts';
import { measureRounds } from './rounds.ts';

const BAR = 2;
const [FEW, MANY] = [1000, 10_000];
const PER_SECOND = 2000;
const MEASURE_MS = 5000;
const READY_MS_MAX = 10_000;
const MAIN = join(import.meta.dirname, '../packages/broker/src/main.ts');

export interface DevicesSetup {
  readonly url: string;
  readonly devices: number;
}
export interface DevicesRequest {
  readonly ms: number;
  readonly perSecond: number;
}
export type DevicesReply = { readonly connected: number } | { readonly sent: number; readonly received: number };

/** What a connection costs that says nothing at the moment: the same messages, from ten times as many devices. */
export const connections: Bench = {
  what: `broker CPU per message with ${MANY} connected devices ÷ with ${FEW}, at ${PER_SECOND} messages/s in all`,
  async run(report): Promise<BenchResult> {
    await using few = await startSite(FEW, report);
    await using many = await startSite(MANY, report);
    // What is compiled late, and the garbage of so many CONNECTs, is nobody's message.
    for (const site of [few, many]) await site.microsPerMessage();
    const series = await measureRounds(few.microsPerMessage, many.microsPerMessage, report, {
      unit: 'µs/message',
      baseline: `${FEW} devices`,
    });
    const lost = few.lost + many.lost;
    const mb = { [FEW]: few.residentMb, [MANY]: many.residentMb };
    const kbPerConnection = Number((((many.residentMb - few.residentMb) * 1024) / (MANY - FEW)).toFixed(1));
    return {
      figure: series.figure,
      unit: 'ratio of CPU per message',
      bar: BAR,
      atMost: true,
      broken: lost,
      variants: { lost, sent: few.sent + many.sent, residentMb: mb, kbPerConnection },
      rounds: series.rounds,
    };
  },
};

/** A broker of its own with so many devices connected, each with credentials of its own. */
async function startSite(devices: number, report: (line: string) => void) {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(temporaryFolder());
  const broker = stack.use(await startBroker(folder.path, devices));
  const meter = createCpuMeter({ broker: broker.pid });
  if (meter === undefined) throw new Error('the CPU of a process can only be told on Linux');
  const began = performance.now();
  const child = stack.use(startChild<DevicesReply>('connections-child.ts'));
  await child.ask({ url: broker.url, devices } satisfies DevicesSetup);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  report(`  ${devices} devices connected in ${seconds} s`);
  const kept = stack.move();
  const counts = { sent: 0, lost: 0 };

  return {
    get residentMb() {
      return residentMb(broker.pid);
    },
    get sent() {
      return counts.sent;
    },
    get lost() {
      return counts.lost;
    },
    microsPerMessage: async (): Promise<number> => {
      const before = meter.read()['broker'] ?? 0;
      const reply = await child.ask({ ms: MEASURE_MS, perSecond: PER_SECOND } satisfies DevicesRequest);
      if (!('sent' in reply)) throw new Error('the devices answered something else');
      counts.sent += reply.sent;
      counts.lost += reply.sent - reply.received;
      return (((meter.read()['broker'] ?? 0) - before) * 1e6) / reply.sent;
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** As `brink up` starts it, for more devices than it takes by default. */
async function startBroker(folder: string, devices: number) {
  const [port = 0, opsPort = 0] = await freePorts(2);
  const users = Array.from({ length: devices }, (_, i) => ({
    username: `dev-${i}`,
    role: 'device',
    password: `dev-${i}`,
  }));
  const usersFile = join(folder, 'users.json');
  writeFileSync(
    usersFile,
    JSON.stringify({ users: [{ username: 'gateway', role: 'gateway', password: 'gateway' }, ...users] }),
  );
  const [command, args] = withOpenFiles(process.execPath, [MAIN]);
  const child = spawn(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      BRINK_BROKER_PORT: String(port),
      BRINK_OPS_PORT: String(opsPort),
      BRINK_BROKER_ANONYMOUS: 'never',
      BRINK_BROKER_USERS_FILE: usersFile,
      BRINK_BROKER_CONNECTIONS_MAX: String(2 * devices),
      BRINK_BROKER_ACCEPTS_PER_S_MAX: '100000',
    },
  });
  const late = performance.now() + READY_MS_MAX;
  const ready = () =>
    fetch(`http://127.0.0.1:${opsPort}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
  while (!(await ready())) {
    if (performance.now() > late || child.exitCode !== null) throw new Error('the broker did not start');
    await pause(20);
  }
  return {
    url: `mqtt://127.0.0.1:${port}`,
    pid: child.pid as number,
    async [Symbol.asyncDispose]() {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  };
}

const residentMb = (pid: number) => {
  const kb = Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0);
  return Number((kb / 1024).toFixed(1));
};
