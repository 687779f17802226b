import { createLogger, systemClock } from '@brink/runtime';
import { readConfig } from '../../src/config.ts';
import { createService } from '../../src/service.ts';
import { spoolWith } from './accidents.ts';

// A gateway that kills itself, as `kill -9` does, at the n-th time that it comes by a failpoint: argv is name and n. Those of the spool's
// thread are called `commit.…`. With `ack-first` it acknowledges before it commits: what Brink promises must then not hold.

const [point = '', nth = '1', mode = ''] = process.argv.slice(2);
let left = Number(nth);

const service = createService(readConfig(process.env), {
  logger: createLogger({ service: 'gateway', level: process.env['BRINK_TEST_LOG'] ?? 'silent', pretty: false }),
  clock: systemClock,
  random: Math.random,
  failpoint(name) {
    if (name !== point) return;
    left -= 1;
    if (left === 0) process.kill(process.pid, 'SIGKILL');
  },
  ...(point.startsWith('commit.') ? { spoolWorker: spoolWith({ point, n: nth, action: 'kill' }) } : {}),
  tap(message) {
    if (mode === 'ack-first') message.ack?.();
    return message;
  },
});
await service.start(new AbortController().signal);
