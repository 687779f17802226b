export { run } from './program.ts';
export { createTerminal, type Streams, type Terminal } from './terminal.ts';
export type { Edge, ExitCode } from './verb.ts';
