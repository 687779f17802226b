import { LedgerCopySchema, LedgerHealthSchema } from '@brink/protocol';
import { z } from 'zod';
import type { Ledger } from '../../ledger/ledger.ts';
import { type App, problems } from '../app.ts';

/** How the ledger itself is: what was lost, and its copies. */
export function addLedger(app: App, d: { ledger: Pick<Ledger, 'damage' | 'acceptDamage' | 'copy' | 'copies'> }): void {
  const tags = ['ledger'];
  app.get(
    '/v1/ledger',
    {
      schema: {
        summary: 'What was lost of the ledger, and the copies that there are',
        tags,
        response: { 200: LedgerHealthSchema, ...problems },
      },
    },
    () => ({ damage: [...d.ledger.damage], copies: d.ledger.copies().map(shown) }),
  );
  app.post(
    '/v1/ledger/damage/accept',
    {
      schema: {
        summary: 'Take note of what was lost: control is ready again',
        tags,
        response: { 200: z.strictObject({ accepted: z.number().int() }), ...problems },
      },
    },
    async () => ({ accepted: await d.ledger.acceptDamage() }),
  );
  app.post(
    '/v1/ledger/copies',
    { schema: { summary: 'Copy the ledger now', tags, response: { 201: LedgerCopySchema, ...problems } } },
    async (_, reply) => reply.code(201).send(shown(await d.ledger.copy())),
  );
}

function shown({ file, made_ms, n, bytes, sha256 }: ReturnType<Ledger['copies']>[number]) {
  return { file, made_at: new Date(made_ms).toISOString(), n, bytes, sha256 };
}
