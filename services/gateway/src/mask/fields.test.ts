import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { maskFields } from './fields.ts';
import { maskPlanOf } from './plan.ts';

const KEY = Buffer.from('a key of more than sixteen bytes');
const hashed = (text: string) => createHmac('sha256', KEY).update(text).digest('hex');

const masked = (value: unknown, fields: { drop?: string[]; pseudonymise?: string[] }): unknown => {
  const plan = maskPlanOf([{ fields: { drop: [], pseudonymise: [], secret: 'people', ...fields } }]);
  const bytes = typeof value === 'string' ? Buffer.from(value) : Buffer.from(JSON.stringify(value));
  return JSON.parse(Buffer.from(maskFields(bytes, plan?.fields ?? [], () => KEY)).toString());
};

describe('fields', () => {
  it('are left out wherever their path leads, through lists too', () => {
    const value = { name: 'Anna', rows: [{ name: 'Bob', at: 1 }, [{ name: 'Eve', at: 2 }], 7], keep: { name: 'Zoe' } };
    expect(masked(value, { drop: ['name', 'rows.name', 'no.such.field'] })).toEqual({
      rows: [{ at: 1 }, [{ at: 2 }], 7],
      keep: { name: 'Zoe' },
    });
  });

  it('are replaced by a keyed hash, the same for the same value', () => {
    const value = { id: 4711, user: { id: 'Anna' }, tags: ['Anna', 4711], none: null };
    expect(masked(value, { pseudonymise: ['id', 'user.id', 'tags', 'none'] })).toEqual({
      id: hashed('4711'),
      user: { id: hashed('Anna') },
      tags: [hashed('Anna'), hashed('4711')],
      none: hashed('null'),
    });
  });

  it('reach no prototype', () => {
    expect(
      masked('{"__proto__":{"name":"Anna"},"a":1}', { drop: ['constructor.prototype', '__proto__.name'] }),
    ).toEqual(JSON.parse('{"__proto__":{},"a":1}'));
    expect(({} as { name?: string }).name).toBeUndefined();
  });

  it('that cannot be told apart are not let through: no JSON, no right UTF-8', () => {
    for (const text of ['ax,1,2', '', '{"name":']) expect(() => masked(text, { drop: ['name'] })).toThrow(/E_MASK/);
    const plan = maskPlanOf([{ fields: { drop: ['name'], pseudonymise: [] } }]);
    expect(() => maskFields(Buffer.from([0x22, 0xff, 0x22]), plan?.fields ?? [], () => KEY)).toThrow(/E_MASK/);
  });
});
