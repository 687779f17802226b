import { pino } from 'pino';
import pretty from 'pino-pretty';

export type Logger = pino.Logger;

/**
 * Lines of JSON on stdout, or readable ones. Objects first, a constant message second. Writes are synchronous: a fatal line
 * must be out before the process ends, and nothing per frame is logged.
 */
export function createLogger(o: { service: string; level: string; pretty: boolean }): Logger {
  const stream = o.pretty
    ? pretty({
        sync: true,
        translateTime: 'SYS:HH:MM:ss.l',
        ignore: 'pid,hostname,service',
        messageFormat: '{service}: {msg}',
      })
    : pino.destination({ dest: 1, sync: true });
  // A reader that went away must not end the service.
  stream.on('error', () => {});
  return pino(
    {
      level: o.level,
      base: { service: o.service, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: ['password', 'token', 'authorization', '*.password', '*.token', '*.authorization'],
    },
    stream,
  );
}

export const silentLogger: Logger = pino({ level: 'silent' });
