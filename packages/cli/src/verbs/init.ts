import { BrinkError } from '@brink/protocol';
import type { Command } from 'commander';
import { readToken } from '../api.ts';
import { initialise } from '../deploy/vault.ts';
import { type Edge, type VerbOptions, verb } from '../verb.ts';

interface InitOptions extends VerbOptions {
  vault: string;
  secrets: string;
  mosquitto: string;
  serviceUid: string;
  mosquittoUid: string;
}

/** `brink init`: what the one-shot container of docker-compose.yml runs. */
export function addInit(program: Command, edge: Edge): void {
  const command = program
    .command('init')
    .description("make every credential once, and the broker's roles (docker compose runs this)")
    .requiredOption('--vault <folder>', 'where every secret is kept; mount it into nothing else')
    .requiredOption('--secrets <folder>', 'one folder per service is written here')
    .requiredOption('--mosquitto <folder>', 'data folder of Mosquitto, for dynamic-security.json')
    .option('--service-uid <id>', 'user of the services', '10001')
    .option('--mosquitto-uid <id>', 'user of Mosquitto', '1883');
  const example = ['brink init --vault /vault --secrets /secrets --mosquitto /mosquitto/data'];
  verb<InitOptions>(edge, command, example, async ({ env, show }, options) => {
    const owners = { service: Number(options.serviceUid), mosquitto: Number(options.mosquittoUid) };
    const written = await initialise({
      vault: options.vault,
      secrets: options.secrets,
      mosquitto: options.mosquitto,
      root: env['BRINK_TOPIC_ROOT'] || 'brink',
      // Only root may give files away; a person who tries it out keeps them.
      ...(process.getuid?.() === 0 ? { owners } : {}),
    });
    const lines = written.map((path) => `wrote ${path}`);
    if (written.some((path) => path.endsWith('dynamic-security.json'))) {
      lines.push('a broker that runs already must be restarted to read it');
    }
    show({ written }, lines.length === 0 ? ['every credential is there; nothing was changed'] : lines);
    return 0;
  });
}

/** `brink token`: for the person who stands inside the control container. */
export function addToken(program: Command, edge: Edge): void {
  const command = program
    .command('token')
    .description('print the token that HTTP asks for under docker compose')
    .option('--token-file <file>', 'where it lies (BRINK_HTTP_TOKEN_FILE)');
  const example = [
    'docker compose exec control brink token',
    'curl -H "Authorization: Bearer $(docker compose exec control brink token)" http://127.0.0.1:8080/v1/status',
  ];
  verb<VerbOptions>(edge, command, example, async ({ env, show }, options) => {
    const file = options.tokenFile ?? env['BRINK_HTTP_TOKEN_FILE'];
    const token = readToken(file);
    if (token === undefined) {
      throw new BrinkError('E_NOT_FOUND', 'no token is asked for here: under `npm start` loopback needs none');
    }
    show({ token }, [token]);
    return 0;
  });
}
