import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { UpOptions } from '../up/plan.ts';
import { type Context, type Edge, filled, type VerbOptions, verb, wholeNumber } from '../verb.ts';

interface UpFlags extends VerbOptions {
  demo: boolean;
  lan?: boolean;
  data: string;
  config?: string;
  models?: string;
  port: number;
  mqttPort: number;
  oipPort: number;
  opsPort: number;
}

const port = wholeNumber(1, 65_535);

/** `brink up`: broker, services and simulated devices as child processes, until Ctrl-C. */
export function addUp(program: Command, edge: Edge): void {
  const command = program
    .command('up')
    .description('run everything on this machine: broker, services, simulated devices')
    .option('--no-demo', 'without the simulated camera and feeder')
    .option('--lan', 'reachable from the network: MQTT with credentials, HTTP with a token (no TLS yet)')
    .option('--data <folder>', 'where decisions, logs and sockets lie', 'data')
    .option('--config <folder>', 'the site (default: config/ of the project)')
    .option('--models <folder>', '(default: models/ of the project)')
    .option('--port <n>', 'HTTP: API, docs, events', port, 8080)
    .option('--mqtt-port <n>', 'the embedded broker', port, 1883)
    .option('--oip-port <n>', 'Open Inference Protocol: this one over HTTP, the one after it over gRPC', port, 8000)
    .option('--ops-port <n>', 'health and metrics: this one and the three after it', port, 9101);
  const example = [
    'brink up',
    'brink up --no-demo',
    'brink up --lan',
    'brink up --data /tmp/brink --port 8090 --mqtt-port 1884',
  ];
  verb<UpFlags>(edge, command, example, async (context, flags) => {
    // Loaded when it is needed: the other verbs start faster without it.
    const { runUp } = await import('../up/run.ts');
    return runUp(context, optionsOf(context, flags));
  });
}

function optionsOf({ root, env }: Context, flags: UpFlags): UpOptions {
  return {
    data: resolve(flags.data),
    config: resolve(flags.config ?? join(root, 'config')),
    models: resolve(flags.models ?? join(root, 'models')),
    demo: flags.demo,
    lan: flags.lan === true,
    topicRoot: filled(env['BRINK_TOPIC_ROOT']) ?? 'brink',
    port: flags.port,
    mqttPort: flags.mqttPort,
    oipPort: flags.oipPort,
    opsPort: flags.opsPort,
  };
}
