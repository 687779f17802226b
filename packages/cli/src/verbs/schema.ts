import { BrinkError, jsonSchema, SCHEMA_NAMES } from '@brink/protocol';
import type { Command } from 'commander';
import { type Edge, type VerbOptions, verb } from '../verb.ts';

/** `brink schema <name>`: the same documents as /schemas/v1/… */
export function addSchema(program: Command, edge: Edge): void {
  const command = program
    .command('schema')
    .description('print the JSON Schema of a file or message')
    .argument('[name]', 'absent: the names there are');
  const example = ['brink schema config > config.schema.json', 'brink schema'];
  verb<VerbOptions>(edge, command, example, async ({ json, show, terminal }, _options, name) => {
    if (name === undefined) {
      show({ items: SCHEMA_NAMES }, SCHEMA_NAMES);
      return 0;
    }
    const schema = jsonSchema(name);
    if (schema === undefined)
      throw new BrinkError('E_NOT_FOUND', `no schema "${name}"; there are ${SCHEMA_NAMES.join(', ')}`);
    terminal.line(JSON.stringify(schema, null, json ? undefined : 2));
    return 0;
  });
}
