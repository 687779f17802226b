import type { Bench } from './bench.ts';
import { loop } from './loop.ts';
import { machine } from './rounds.ts';

const benches: Record<string, Bench> = { loop };

const [name] = process.argv.slice(2);
if (name === '--list') {
  for (const [key, bench] of Object.entries(benches)) console.log(`${key.padEnd(12)} ${bench.what}`);
} else if (name === undefined || benches[name] === undefined) {
  console.error(`usage: npm run bench -- <name> | --list   (${Object.keys(benches).join(', ')})`);
  process.exitCode = 2;
} else {
  const result = await benches[name].run((line) => console.error(line));
  const pass = result.figure === null ? null : result.figure >= result.bar;
  console.log(JSON.stringify({ bench: name, ...result, pass, machine: machine() }));
}
