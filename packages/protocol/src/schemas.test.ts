import { expect, test } from 'vitest';
import { jsonSchema, SCHEMA_NAMES } from './schemas.ts';

test.each(SCHEMA_NAMES)('%s has a JSON Schema', (name) => {
  expect(jsonSchema(name)).toMatchObject({ $schema: expect.stringContaining('draft-07') });
});

test('what has a default may be left out of the configuration', () => {
  expect(jsonSchema('config')).toMatchObject({ type: 'object', required: ['version'], additionalProperties: false });
});

test('a name that is none has no schema', () => {
  expect(jsonSchema('__proto__')).toBeUndefined();
  expect(jsonSchema('nope')).toBeUndefined();
});
