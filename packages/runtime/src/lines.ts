import type { ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';

const LINE_CHARS_MAX = 2000;
const LINES_PER_SECOND_MAX = 50;
const TAIL_LINES = 20;
/** The line that says why a process ended, when a stack of many lines follows it. */
const REASON = /FATAL ERROR|bad_alloc/;

/**
 * What a child writes goes to our log, cut to 2000 characters a line and 50 lines a second; the rest is counted, not kept.
 * @returns a function that gives the last lines of stderr, for the reason of its end; before them the one that names it
 */
export function forwardLines(child: ChildProcess, logger: Logger, clock: Clock): () => string {
  const tail: string[] = [];
  let reason: string | undefined;
  const limit = createLimit(clock, (dropped) => logger.warn({ dropped }, 'lines of the child dropped'));
  readLines(child.stdout, (line) => {
    if (limit()) logger.info({ stdout: line }, 'child says');
  });
  readLines(child.stderr, (line) => {
    if (REASON.test(line)) reason ??= line;
    tail.push(line);
    if (tail.length > TAIL_LINES) tail.shift();
    if (limit()) logger.warn({ stderr: line }, 'child says');
  });
  return () => {
    const last = tail.join('\n').slice(-LINE_CHARS_MAX);
    return reason === undefined || last.includes(reason) ? last : `${reason}\n${last}`;
  };
}

function createLimit(clock: Clock, onDropped: (count: number) => void): () => boolean {
  let since = clock.monotonic();
  let count = 0;
  return () => {
    const now = clock.monotonic();
    if (now - since >= 1000) {
      if (count > LINES_PER_SECOND_MAX) onDropped(count - LINES_PER_SECOND_MAX);
      since = now;
      count = 0;
    }
    count += 1;
    return count <= LINES_PER_SECOND_MAX;
  };
}

function readLines(stream: Readable | null, onLine: (line: string) => void): void {
  if (stream === null) return;
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('error', () => {});
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    // What exceeds the limit of a line is not kept while its end is awaited.
    rest = (lines.pop() ?? '').slice(0, LINE_CHARS_MAX);
    for (const line of lines) if (line !== '') onLine(line.slice(0, LINE_CHARS_MAX));
  });
  stream.on('end', () => {
    if (rest !== '') onLine(rest);
  });
}
